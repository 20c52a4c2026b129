"""The printed script under a real slurmctld and slurmd on this host (slurm-wlm and munge)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands.program import call, get_env
from tests.jobs_program import server, write
from tests.test_jobs import list_left, wait_for_pids, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs("munged", "slurmctld", "slurmd", "sbatch"),
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd wants root"),
]

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={dir}/munge.socket
SlurmctldPort={ctld}
SlurmdPort={d}
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd.pid
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
MpiDefault=none
ReturnToService=2
KillWait=10
SlurmctldParameters=enable_configless
Prolog={dir}/prolog
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 Gres=gpu:8 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = socket.gethostname().partition(".")[0]
        self.env = {**get_env(folder), "SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        for name in ("state", "spool", "gpus"):
            (self.folder / name).mkdir()
        for index in range(8):
            (self.folder / "gpus" / f"gpu{index}").touch()
        prolog = self.folder / "prolog"
        gate = f'exec "{sys.executable}" -m warmup doctor --gate > {self.folder}/gate.log 2>&1'
        exports = "\n".join(f'export {k}="{v}"' for k, v in get_env(self.folder).items())
        prolog.write_text(f"#!/bin/sh\n{exports}\n[ -e {self.folder}/gated ] || exit 0\n{gate}\n")
        prolog.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        ports = [_find_port(), _find_port()]
        conf = CONF.format(host=self.host, dir=self.folder, ctld=ports[0], d=ports[1])
        (self.folder / "slurm.conf").write_text(conf)
        gres = f"NodeName={self.host} Name=gpu File={self.folder}/gpus/gpu[0-7]\n"
        (self.folder / "gres.conf").write_text(gres)
        files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid",
                 "log-file": "munge.log", "seed-file": "munge.seed"}  # fmt: skip
        words = [f"--{name}={self.folder}/{file}" for name, file in files.items()]
        self._spawn("munged", "--force", "--foreground", *words)
        wait_until((self.folder / "munge.socket").exists)
        self._spawn("slurmctld", "-c", "-D", "-f", str(self.folder / "slurm.conf"))
        self._spawn("slurmd", "-D", "-f", str(self.folder / "slurm.conf"))
        wait_until(lambda: self.get_state() == "idle")

    def _spawn(self, *argv: str) -> None:
        with (self.folder / f"{argv[0]}.out").open("wb") as out:
            self._daemons.append(subprocess.Popen(argv, env=self.env, stdout=out, stderr=out))

    def stop(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def ask(self, *argv: str) -> str:
        done = subprocess.run(
            argv, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    def get_state(self) -> str:
        return self.ask("sinfo", "-h", "-o", "%T")

    def submit(self, *args: str, ours: tuple[str, ...] = ()) -> str:
        """The script as printed, submitted; answers the job's number. ours: `fleet slurm`'s."""
        words = ("--time=5", f"--output={self.folder}/%a.out", *args)
        fleet = ("fleet", "slurm", "--workflow", "workflow.toml", *ours)
        done = call(self.folder, *fleet, "--", *words)
        assert done.returncode == 0, done.stderr
        (self.folder / "script").write_text(done.stdout)
        job = self.ask("sbatch", "--parsable", "script")
        assert job.isdigit(), job
        return job

    def has_ended(self, job: str) -> Callable[[], bool]:
        return lambda: not self.ask("squeue", "-h", "-j", job)


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(tmp_path)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def test_an_array_warms_both_shards_at_once(cluster: Cluster) -> None:
    write(cluster.folder, server("a", "b"), server("b", "a"))
    job = cluster.submit()
    wait_until(cluster.has_ended(job))
    said = [(cluster.folder / f"{index}.out").read_text() for index in (1, 2)]
    assert "a:1 ...... warmed" in said[0], said
    assert "b:1 ...... warmed" in said[1], said


def test_scancel_leaves_no_survivor_and_a_requeued_task_goes_on(cluster: Cluster) -> None:
    write(cluster.folder, server("a", "", "--never-ready", "--ignore-term"))
    job = cluster.submit("--open-mode=append")
    pids = wait_for_pids(cluster.folder, "a")
    assert list_left(pids) == pids
    (cluster.folder / "a.up").unlink()
    cluster.ask("scontrol", "requeue", f"{job}_1")
    wait_until(lambda: not list_left(pids))
    wait_until(lambda: "PENDING" in cluster.ask("squeue", "-h", "-j", job, "-o", "%T"))
    cluster.ask("scontrol", "update", f"JobId={job}_1", "StartTime=now")  # not in two minutes
    again = wait_for_pids(cluster.folder, "a")
    assert again != pids
    (cluster.folder / "1.out").write_text("")
    cluster.ask("scancel", job)
    wait_until(lambda: not list_left(again))
    wait_until(lambda: "cancelled by SIGTERM" in (cluster.folder / "1.out").read_text())
    wait_until(cluster.has_ended(job))


def test_per_node_every_model_is_warmed_into_the_nodes_own_cache(cluster: Cluster) -> None:
    """On the one node that there is; and a scancel ends the step's servers."""
    write(cluster.folder, server("a", "b"), server("b", "a"))
    args = ("--nodes=1", f"--output={cluster.folder}/all.out")
    job = cluster.submit(*args, ours=("--per-node",))
    wait_until(cluster.has_ended(job))
    said = (cluster.folder / "all.out").read_text()
    assert "a:1 ...... warmed" in said and "b:1 ...... warmed" in said, said
    kept = {path.name for path in (cluster.folder / "home" / "caches" / "triton").iterdir()}
    assert kept == {"HASHA", "HASHB"}
    for name in "ab":
        (cluster.folder / f"{name}.up").unlink()
    write(cluster.folder, server("a", "", "--never-ready", "--ignore-term"))
    job = cluster.submit(*args, "--open-mode=append", ours=("--per-node",))
    pids = wait_for_pids(cluster.folder, "a")
    cluster.ask("scancel", job)
    wait_until(lambda: not list_left(pids))
    wait_until(cluster.has_ended(job))


def test_the_gate_drains_the_node(cluster: Cluster) -> None:
    """As a prolog: Slurm drains a node whose prolog fails, and requeues the job."""
    write(cluster.folder, server("a"))
    (cluster.folder / "gated").touch()
    job = cluster.submit("--hold")
    (cluster.folder / "home").write_text("no folder")
    cluster.ask("scontrol", "release", job)
    wait_until(lambda: cluster.get_state().startswith("drain"))
    assert not (cluster.folder / "a.up").exists()
    cluster.ask("scancel", job)
    wait_until(cluster.has_ended(job))

"""No process of a server outlives its orchestrator, whoever is killed and whenever."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.supervise.trees import (
    DEADLINE_S,
    ROOT,
    end,
    get_leader_pid,
    get_shim_pid,
    get_toy,
    list_bearers,
    read_ledger,
    reap_home,
    reap_orphans,
    spawn_nasty_run,
    spawn_orchestrator,
    wait_until,
    wait_until_gone,
)
from warmup.supervise.tree import proc, shim


def list_descendants() -> list[int]:
    """Living ones of this process, which is a subreaper: also those that no cookie marks yet."""
    stats = {pid: proc.find_stat(pid) for pid in proc.list_pids()}
    found = {os.getpid()}
    while True:
        more = {pid for pid, stat in stats.items() if stat and stat.ppid in found} - found
        if not more:
            break
        found |= more
    return sorted(pid for pid in found if pid != os.getpid() and proc.is_living(pid))


def has_only(pids: set[int]) -> bool:
    return pids.issuperset(list_descendants())


def kill_at_random_moments(tmp_path: Path, num_times: int) -> None:
    """From before the ledger to well after the workers are up; a slow machine moves the moments."""
    chance = random.Random(20261121)
    for index in range(num_times):
        run_dir = tmp_path / f"r{index}"
        folder = tmp_path / f"ready{index}"
        run_dir.mkdir()
        folder.mkdir()
        before = set(list_descendants())
        argv = get_toy("tree_nasty", folder, "deaf", "orphan", "all")
        orchestrator = spawn_orchestrator(run_dir, argv)
        if index % 2:  # half of them while the server runs or comes up
            wait_until((run_dir / "ledger.json").exists)
        time.sleep(chance.uniform(0, 0.25))  # the random moment, no synchronisation
        orchestrator.kill()
        end(orchestrator)
        wait_until(functools.partial(has_only, before), "no survivor")
        assert list_bearers(run_dir) == []
        reap_orphans()


def test_an_orchestrator_killed_at_a_random_moment_leaves_nobody(tmp_path: Path) -> None:
    kill_at_random_moments(tmp_path, 10)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_orchestrator_killed_at_100_random_moments_leaves_nobody(tmp_path: Path) -> None:
    kill_at_random_moments(tmp_path, 100)


def test_a_killed_orchestrator_leaves_nobody_though_the_grace_is_long(tmp_path: Path) -> None:
    run_dir, orchestrator = spawn_nasty_run(tmp_path, grace_s=600)
    assert len(list_bearers(run_dir)) == 8  # shim, leader, workers
    orchestrator.send_signal(signal.SIGTERM)
    orchestrator.kill()
    end(orchestrator)
    wait_until_gone(run_dir)
    assert not read_ledger(run_dir).finished
    reap_orphans()


def test_a_sibling_that_holds_the_pipe_does_not_hide_the_orchestrators_death(
    tmp_path: Path,
) -> None:
    """A fork without exec keeps the lifeline's write end open: the pidfd has to tell."""
    script = (
        "import os, pathlib, signal, sys; from warmup.supervise.tree.supervisor import Supervisor\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with Supervisor(folder / 'run', warn=print) as supervisor:\n"
        "    supervisor.start(['sleep', '60'], env=dict(os.environ), cwd=folder,"
        " log_path=folder / 'log')\n"
        "    sibling = os.fork()\n"
        "    if sibling:\n"
        "        print(sibling, flush=True)\n"
        "    signal.pause()\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as orchestrator:
        assert orchestrator.stdout is not None
        sibling = int(orchestrator.stdout.readline())
        assert len(list_bearers(tmp_path / "run")) == 2
        orchestrator.kill()
        end(orchestrator)
        try:
            wait_until_gone(tmp_path / "run")
            assert proc.is_living(sibling)
        finally:
            os.kill(sibling, signal.SIGKILL)
    os.waitpid(sibling, 0)  # it came to us
    reap_orphans()


def test_a_killed_shim_ends_the_run_and_leaves_nobody(tmp_path: Path) -> None:
    run_dir, orchestrator = spawn_nasty_run(tmp_path)
    os.kill(get_shim_pid(run_dir), signal.SIGKILL)
    assert end(orchestrator) == 0
    assert list_bearers(run_dir) == []


def test_what_both_left_is_reaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir, orchestrator = spawn_nasty_run(tmp_path)
    # Stopped first, so that neither can clear up when the other is killed.
    for pid in (orchestrator.pid, get_shim_pid(run_dir)):
        os.kill(pid, signal.SIGSTOP)
    orchestrator.kill()
    os.kill(get_shim_pid(run_dir), signal.SIGKILL)
    end(orchestrator)
    survivors = set(list_bearers(run_dir)) - {get_shim_pid(run_dir)}
    assert len(survivors) >= 6
    (run,) = reap_home(tmp_path, lambda text: pytest.fail(text)).runs
    assert run.state == "cleared"
    # The leader wears PDEATHSIG: it may have died with its shim before `reap` came.
    assert {pid for pid, _ in run.killed} >= survivors - {get_leader_pid(run_dir)}
    assert list_bearers(run_dir) == []
    assert read_ledger(run_dir).finished
    reap_orphans()


def test_reap_ends_a_fork_chain(tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "r1"
    run_dir.mkdir(parents=True)
    ready = tmp_path / "ready"
    orchestrator = spawn_orchestrator(run_dir, get_toy("tree_forks", "chain", ready, 20_000))
    wait_until(ready.exists)
    wait_until(lambda: get_leader_pid(run_dir))
    for pid in (orchestrator.pid, get_shim_pid(run_dir)):
        os.kill(pid, signal.SIGSTOP)
    orchestrator.kill()
    os.kill(get_shim_pid(run_dir), signal.SIGKILL)
    end(orchestrator)
    (run,) = reap_home(tmp_path, lambda text: pytest.fail(text)).runs
    assert run.state == "cleared"
    assert list_bearers(run_dir) == []
    reap_orphans()


def test_reap_leaves_a_living_run_alone(tmp_path: Path) -> None:
    run_dir, orchestrator = spawn_nasty_run(tmp_path)
    before = list_bearers(run_dir)
    (run,) = reap_home(tmp_path, lambda text: pytest.fail(text)).runs
    assert (run.state, run.killed) == ("running", ())
    assert list_bearers(run_dir) == before
    orchestrator.terminate()
    assert end(orchestrator) == 143
    assert list_bearers(run_dir) == []


def test_a_shim_whose_parent_is_not_the_expected_one_starts_nothing(tmp_path: Path) -> None:
    job = os.memfd_create("job")
    os.write(job, json.dumps({"argv": ["touch", "made"], "env": {}, "cwd": str(tmp_path)}).encode())
    os.lseek(job, 0, os.SEEK_SET)
    control, control_end = os.pipe()
    status, status_end = os.pipe()
    words = [str(word) for word in (os.getpid() + 1, 0, job, control, status_end)]
    argv = [sys.executable, "-I", "-S", shim.__file__, *words]
    subprocess.run(argv, pass_fds=(job, control, status_end), timeout=DEADLINE_S, check=True)
    os.close(status_end)
    assert os.read(status, 4096) == b""
    assert not (tmp_path / "made").exists()
    for fd in (job, control, control_end, status):
        os.close(fd)


def test_a_shim_loads_nothing_slow() -> None:
    """Before every server and every command that is run under `exec`."""
    code = (
        f"import sys; sys.path.append({str(ROOT)!r}); import warmup.supervise.tree.shim;"
        "print(sorted(set(sys.modules) & {'typing', 'dataclasses', 'inspect', 'pathlib'}))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")

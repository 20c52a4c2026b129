"""Ending a server's tree, with real processes that would rather stay (design.md, section 7)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.tree_nasty import KINDS, TITLE
from tests.supervise.trees import (
    DEADLINE_S,
    SERVERS,
    ask,
    get_toy,
    reap_orphans,
    start,
    start_nasty,
    wait_until,
)
from warmup.supervise.tree import proc
from warmup.supervise.tree.supervisor import Supervisor


@pytest.fixture
def expected() -> list[str]:
    """A test that expects warnings takes them out of here; the others have none."""
    return []


@pytest.fixture
def supervisor(tmp_path: Path, expected: list[str]) -> Iterator[Supervisor]:
    with Supervisor(tmp_path / "runs" / "r1", warn=expected.append) as opened:
        yield opened
    reap_orphans()
    assert expected == []


def take_lost_shim(said: list[str]) -> None:
    """What the run says once when a shim was killed."""
    assert "did not end its server" in said.pop()


def is_any_living(pids: list[int]) -> bool:
    return any(proc.is_living(pid) for pid in pids)


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("exit 0", "exited with status 0"),
        ("exit 7", "exited with status 7"),
        ("kill -KILL $$", "was killed by SIGKILL"),
        ("kill -SEGV $$", "was killed by SIGSEGV"),
        ("kill -40 $$", "was killed by signal 40"),
    ],
)
def test_how_a_leader_ended(supervisor: Supervisor, tmp_path: Path, script: str, how: str) -> None:
    server = start(supervisor, tmp_path, ["sh", "-c", script])
    wait_until(server.find_exit)
    assert str(server.find_exit()) == how
    assert server.stop(DEADLINE_S).killed == 0
    assert str(server.find_exit()) == how


def test_a_leader_that_ends_at_sigterm_is_not_killed(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    server, _ = start_nasty(supervisor, tmp_path)
    wait_until(lambda: get_caught(server.leader_pid) & 1 << signal.SIGTERM - 1)
    report = server.stop(DEADLINE_S)
    assert (report.killed, report.survivors) == (0, ())
    assert report.seconds < DEADLINE_S
    assert str(server.find_exit()) == "exited with status 0"


def get_caught(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("SigCgt:")[1].split()[0], 16)


def test_a_second_stop_answers_what_the_first_did(supervisor: Supervisor, tmp_path: Path) -> None:
    server = start(supervisor, tmp_path, ["sleep", "60"])
    assert server.stop(DEADLINE_S) is server.stop(0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_worker_gets_away(supervisor: Supervisor, tmp_path: Path, kind: str) -> None:
    server, pids = start_nasty(supervisor, tmp_path, kind)
    assert set(pids) <= set(server.list_pids())
    report = server.stop(0.05)
    assert not is_any_living([server.leader_pid, *pids])
    assert report.survivors == ()
    assert server.list_pids() == []


def test_workers_of_a_killed_leader_are_ended(supervisor: Supervisor, tmp_path: Path) -> None:
    server, pids = start_nasty(supervisor, tmp_path, *KINDS)
    os.kill(server.leader_pid, signal.SIGKILL)
    wait_until(server.find_exit)
    assert str(server.find_exit()) == "was killed by SIGKILL"
    assert sorted(server.list_pids()) == sorted(pids)
    # Nobody is left to be asked, so the grace is not waited for.
    report = server.stop(10 * DEADLINE_S)
    assert report.seconds < DEADLINE_S
    assert report.killed == len(KINDS)
    assert not is_any_living(pids)


def test_orphans_of_a_leader_that_obeys_do_not_use_up_the_grace(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    server, pids = start_nasty(supervisor, tmp_path, "deaf")
    wait_until(lambda: get_caught(server.leader_pid) & 1 << signal.SIGTERM - 1)
    assert server.stop(10 * DEADLINE_S).seconds < DEADLINE_S
    assert str(server.find_exit()) == "exited with status 0"
    assert not is_any_living(pids)


def test_a_leader_that_stopped_itself_hears_the_sigterm(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    script = "trap 'exit 5' TERM; kill -STOP $$; while :; do sleep 0.01; done"
    server = start(supervisor, tmp_path, ["sh", "-c", script])

    def is_stopped() -> bool:
        stat = proc.find_stat(server.leader_pid)
        return stat is not None and stat.state == "T"

    wait_until(is_stopped)
    server.stop(DEADLINE_S)
    assert str(server.find_exit()) == "exited with status 5"


@pytest.mark.parametrize("kind", ["chain", "respawn"])
def test_processes_that_keep_forking_are_ended(
    supervisor: Supervisor, tmp_path: Path, kind: str
) -> None:
    ready = tmp_path / "ready"
    server = start(supervisor, tmp_path, get_toy("tree_forks", kind, ready, 20_000))
    wait_until(ready.exists)
    if kind == "respawn":  # of a chain a look at /proc may catch no link
        wait_until(lambda: len(server.list_pids()) > 2)
    report = server.stop(0.05)
    assert report.survivors == ()
    assert report.killed > 0
    assert server.list_pids() == []


@pytest.mark.parametrize("kind", ["chain", "respawn"])
def test_processes_that_keep_forking_are_ended_without_their_shim(
    supervisor: Supervisor, expected: list[str], tmp_path: Path, kind: str
) -> None:
    ready = tmp_path / "ready"
    server = start(supervisor, tmp_path, get_toy("tree_forks", kind, ready, 20_000))
    wait_until(ready.exists)
    if kind == "respawn":  # of a chain a look at /proc may catch no link
        wait_until(lambda: len(server.list_pids()) > 2)
    os.kill(server.shim_pid, signal.SIGKILL)
    assert server.stop(0.05).survivors == ()
    assert server.list_pids() == []
    take_lost_shim(expected)


def test_a_tree_of_200_is_ended(supervisor: Supervisor, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    server = start(supervisor, tmp_path, get_toy("tree_many", ready, 200))
    wait_until(ready.exists)
    assert len(server.list_pids()) == 201
    assert server.stop(0).survivors == ()
    assert server.list_pids() == []


def test_shared_memory_is_unlinked(supervisor: Supervisor, tmp_path: Path) -> None:
    # Killing the tracker with the rest leaves psm_* in /dev/shm until the next boot.
    ready = tmp_path / "ready"
    server = start(supervisor, tmp_path, get_toy("tree_shm", ready))
    wait_until(ready.exists)
    segment = Path("/dev/shm") / ready.read_text()
    assert segment.exists()
    server.stop(0)
    assert not segment.exists()


def test_shared_memory_is_unlinked_when_the_shim_is_killed(
    supervisor: Supervisor, expected: list[str], tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    server = start(supervisor, tmp_path, get_toy("tree_shm", ready))
    wait_until(ready.exists)
    os.kill(server.shim_pid, signal.SIGKILL)
    server.stop(0)
    take_lost_shim(expected)
    assert not (Path("/dev/shm") / ready.read_text()).exists()


def test_a_tracker_that_does_not_end_is_ended(supervisor: Supervisor, tmp_path: Path) -> None:
    lines = """'resource_tracker import main'
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
signal.pause()"""
    server = start(supervisor, tmp_path, [sys.executable, "-c", lines])
    wait_until(lambda: (tmp_path / "log").read_text() == "up\n")
    assert server.stop(0).killed == 1
    assert server.list_pids() == []


def test_a_killed_shim_takes_the_leader_along_and_leaves_nobody(
    supervisor: Supervisor, expected: list[str], tmp_path: Path
) -> None:
    server, pids = start_nasty(supervisor, tmp_path, *KINDS)
    os.kill(server.shim_pid, signal.SIGKILL)
    wait_until(server.find_exit)
    assert str(server.find_exit()) == "lost its shim, which was killed"
    wait_until(lambda: not proc.is_living(server.leader_pid))
    report = server.stop(10 * DEADLINE_S)
    assert report.survivors == ()
    assert not is_any_living(pids)
    assert proc.find_stat(server.shim_pid) is None
    take_lost_shim(expected)


def test_a_stopped_shim_goes_on(supervisor: Supervisor, tmp_path: Path) -> None:
    server, pids = start_nasty(supervisor, tmp_path, *KINDS)
    os.kill(server.shim_pid, signal.SIGSTOP)
    assert server.stop(0).survivors == ()
    assert server.messages.ended is not None, "it was killed"
    assert not is_any_living([server.leader_pid, server.shim_pid, *pids])


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_shim_that_is_told_to_end_clears_first(
    supervisor: Supervisor, tmp_path: Path, signum: signal.Signals
) -> None:
    server, pids = start_nasty(supervisor, tmp_path, *KINDS)
    os.kill(server.shim_pid, signum)
    wait_until(lambda: not is_any_living([server.leader_pid, *pids]))
    assert str(server.find_exit()) == "was killed by SIGKILL"
    assert server.stop(DEADLINE_S).survivors == ()


def test_a_foreign_process_of_the_same_looks_is_left_alone(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    foreign_folder = tmp_path / "foreign"
    foreign_folder.mkdir()
    foreign = subprocess.Popen(get_toy("tree_nasty", "--worker", "retitled", foreign_folder))
    wait_until((foreign_folder / "retitled").exists)
    server, (worker,) = start_nasty(supervisor, tmp_path, "retitled")
    wait_until(lambda: proc.get_command(worker) == TITLE)
    assert proc.get_command(foreign.pid) == TITLE
    os.kill(server.leader_pid, signal.SIGKILL)
    server.stop(0)
    assert not proc.is_living(worker)
    assert foreign.poll() is None
    foreign.kill()
    foreign.wait(DEADLINE_S)


def test_gunicorn_as_a_daemon_does_not_get_away(supervisor: Supervisor, tmp_path: Path) -> None:
    # It leaves process group and session, and its leader exits 0 while the workers serve.
    address = tmp_path / "socket"
    argv = ["gunicorn", "--daemon", "--chdir", str(SERVERS), "-b", f"unix:{address}"]
    argv += ["--worker-tmp-dir", str(tmp_path), "--no-control-socket", "tree_app:wsgi"]
    server = start(supervisor, tmp_path, [sys.executable, "-m", *argv])
    wait_until(lambda: ask(address) == b"HTTP/1.0 200 OK", "gunicorn")
    assert str(server.find_exit()) == "exited with status 0, and 2 of its processes live on"
    pids = server.list_pids()
    assert server.stop(10 * DEADLINE_S).seconds < DEADLINE_S
    assert not is_any_living(pids)
    assert ask(address) == b""


@pytest.mark.parametrize("program", ["uvicorn", "gunicorn"])
def test_workers_that_serve_on_after_their_leaders_death_are_ended(
    supervisor: Supervisor, tmp_path: Path, program: str
) -> None:
    address = tmp_path / "socket"
    argv = {
        "uvicorn": ["--app-dir", SERVERS, "--uds", address, "--workers", "2", "tree_app:asgi"],
        "gunicorn": ["--chdir", SERVERS, "-b", f"unix:{address}", "-w", "2", "tree_app:wsgi"],
    }[program]
    words = [sys.executable, "-m", program, *(str(word) for word in argv)]
    server = start(supervisor, tmp_path, words)
    wait_until(lambda: ask(address).endswith(b"200 OK"), program)
    pids = server.list_pids()
    assert len(pids) >= 2
    os.kill(server.leader_pid, signal.SIGKILL)
    wait_until(server.find_exit)
    server.stop(10 * DEADLINE_S)
    assert not is_any_living(pids)
    assert ask(address) == b""

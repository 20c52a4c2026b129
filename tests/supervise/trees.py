"""Trees of real processes for the tests of supervision, and how to see that none is left.

Processes are found by their run's cookie, so that another session's do not disturb.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from warmup.supervise.tree import cookie, ledger, proc
from warmup.supervise.tree.reap import ReapReport, reap_runs
from warmup.supervise.tree.supervisor import Server, Supervisor
from warmup.words.files import Folder
from warmup.words.locks import is_held

DEADLINE_S = 30.0
ROOT = Path(__file__).parents[2]
SERVERS = ROOT / "tests" / "servers"


def wait_until(is_true: Callable[[], object], what: str = "it") -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.005)


def get_toy(name: str, *words: object) -> list[str]:
    """argv of a toy of tests/servers."""
    return [sys.executable, str(SERVERS / f"{name}.py"), *(str(word) for word in words)]


def start(supervisor: Supervisor, tmp_path: Path, argv: Sequence[str]) -> Server:
    """The first server's log is `log`, as each must be new the next one's `log1`, and so on."""
    num_logs = len(list(tmp_path.glob("log*")))
    log_path = tmp_path / f"log{num_logs or ''}"
    return supervisor.start(argv, env=dict(os.environ), cwd=tmp_path, log_path=log_path)


def read_ledger(run_dir: Path) -> ledger.Ledger:
    with Folder.open(run_dir) as folder:
        return ledger.read(folder)


def reap_home(home: Path, warn: Callable[[str], None]) -> ReapReport:
    with Folder.open(home / "runs") as runs:
        return reap_runs(runs, warn)


def is_locked(run_dir: Path) -> bool:
    """Whether somebody holds the run's lock."""
    with Folder.open(run_dir) as folder:
        return is_held(folder, ledger.LOCK_NAME)


def start_nasty(supervisor: Supervisor, tmp_path: Path, *kinds: str) -> tuple[Server, list[int]]:
    """A server of tree_nasty whose workers are what they want to be, and their pids."""
    folder = tmp_path / "ready"
    folder.mkdir()
    server = start(supervisor, tmp_path, get_toy("tree_nasty", folder, *kinds))
    wait_until(lambda: all((folder / kind).exists() for kind in kinds), "the workers")
    return server, [int((folder / kind).read_text()) for kind in kinds]


def list_bearers(run_dir: Path) -> list[int]:
    """Living processes of a run, its shims included; none before it has a ledger."""
    try:
        book = read_ledger(run_dir)
    except FileNotFoundError:
        return []
    bearers = cookie.list_bearers(cookie.get_run_cookies(book.cookie))
    return [pid for pid in bearers if proc.is_living(pid)]


def wait_until_gone(run_dir: Path) -> None:
    wait_until(lambda: not list_bearers(run_dir), "the processes to be gone")


def reap_orphans() -> None:
    """Zombies that came to this process, a subreaper, when an orchestrator was killed."""
    for pid in proc.list_children(os.getpid()):
        stat = proc.find_stat(pid)
        if stat is not None and stat.has_ended and (cookie.find_cookie(pid) or 0) >= cookie.LOWEST:
            os.waitpid(pid, os.WNOHANG)


def spawn_orchestrator(
    run_dir: Path, argv: Sequence[str], *, grace_s: float = 0.2, root: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """A process that supervises argv; `root` stands before its command line (`bash -c …`)."""
    words = [*root, sys.executable, "-m", "tests.supervise.orchestrate", str(run_dir), str(grace_s)]
    return subprocess.Popen([*words, *argv], cwd=ROOT, start_new_session=True)


def spawn_nasty_run(
    tmp_path: Path, *, grace_s: float = 0.2, root: Sequence[str] = ()
) -> tuple[Path, subprocess.Popen[bytes]]:
    """A run below tmp_path/runs whose server's workers are what they want to be."""
    run_dir = tmp_path / "runs" / "r1"
    folder = tmp_path / "ready"
    run_dir.mkdir(parents=True)
    folder.mkdir()
    kinds = ("deaf", "session", "orphan", "closed", "retitled", "all")
    argv = get_toy("tree_nasty", folder, *kinds)
    process = spawn_orchestrator(run_dir, argv, grace_s=grace_s, root=root)
    wait_until(lambda: all((folder / kind).exists() for kind in kinds), "the workers")
    wait_until(lambda: get_leader_pid(run_dir), "the leader")
    return run_dir, process


def get_leader_pid(run_dir: Path) -> int:
    """Of the run's first server; 0 while the ledger does not have it."""
    servers = read_ledger(run_dir).servers
    return servers[0].leader.pid if servers and servers[0].leader else 0


def get_shim_pid(run_dir: Path) -> int:
    return read_ledger(run_dir).servers[0].shim.pid


def end(process: subprocess.Popen[bytes]) -> int:
    """Its exit status, which must come before the deadline."""
    return process.wait(DEADLINE_S)


def ask(path: Path) -> bytes:
    """The status line that an HTTP server on a unix socket answers; empty where none does."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        try:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return client.recv(4096).split(b"\r\n")[0]
        except OSError:
            return b""

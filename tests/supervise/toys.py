"""Toy servers under the real supervisor, and beside it, for the tests of the watching half."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from warmup.supervise.log.watch import LogWatch
from warmup.supervise.ports import lease_ports
from warmup.supervise.tree.supervisor import Server, Supervisor
from warmup.supervise.watch.sockets import list_listeners

TOY = Path(__file__).parent.parent / "servers" / "http_faulty.py"
DEADLINE_S = 30.0


def wait_for(is_true: Callable[[], object], what: str) -> None:
    """Poll with a deadline, for what no pipe or file of ours announces."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.01)


def is_served(port: int) -> bool:
    return any(listener.port == port for listener in list_listeners())


@dataclass
class Toy:
    """One server under supervision; `watch` follows its log."""

    supervisor: Supervisor
    server: Server
    port: int
    folder: Path
    watch: LogWatch = field(init=False)

    def __post_init__(self) -> None:
        self.watch = LogWatch(self.folder / "toy.log", ["Scheduler hit an exception"])

    def get_worker_pid(self) -> int:
        path = self.folder / f"{self.port}.worker"
        wait_for(lambda: path.exists() and path.read_text(), "there is no worker")
        return int(path.read_text())

    def wait_until_listening(self) -> None:
        def is_listening() -> bool:
            if self.server.find_exit() is not None:
                raise RuntimeError(f"the toy ended: {self.watch.path.read_text()}")
            return is_served(self.port)

        wait_for(is_listening, f"nobody listens on {self.port}")


@contextmanager
def run_command(folder: Path, port: int, argv: list[str]) -> Iterator[Toy]:
    """Any command as a supervised server, in `folder`."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with Supervisor(folder / "run", warn=lambda text: None) as supervisor:
        server = supervisor.start(argv, env=env, cwd=folder, log_path=folder / "toy.log")
        yield Toy(supervisor, server, port, folder)
        server.stop(0.1)


@contextmanager
def run_toy(folder: Path, mode: str, argument: str = "", *, port: int = 0) -> Iterator[Toy]:
    """`http_faulty.py` in one mode under supervision, on a leased port unless one is given."""
    if port:
        with run_command(folder, port, _get_argv(port, mode, argument)) as toy:
            yield toy
        return
    with (
        lease_ports(folder / "locks", 2) as lease,
        run_command(folder, lease.port, _get_argv(lease.port, mode, argument)) as toy,
    ):
        yield toy


@contextmanager
def run_foreign(port: int, mode: str, argument: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """The same toy as a process that is none of ours; listening when this yields."""
    process = subprocess.Popen(
        _get_argv(port, mode, argument), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: is_served(port), f"the foreign toy does not listen on {port}")
        yield process
    finally:
        process.kill()
        process.wait(DEADLINE_S)


def _get_argv(port: int, mode: str, argument: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(TOY), str(port), mode, argument]

"""What a run leaves on disk for `reap`, should everything that could clear up be killed.

`runs/<run id>/run.lock` is held (flock) while the orchestrator lives: the kernel lets go of it
with the last of its descriptors, so a free lock is proof of death. `runs/<run id>/ledger.json` is
durable before anything is forked and says by which cookie the run's processes are known. The pids
in it tell a human what was what; `reap` trusts none of them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from warmup.supervise.tree import proc
from warmup.words.files import write_atomic

SCHEMA = 1
LOCK_NAME = "run.lock"
LEDGER_NAME = "ledger.json"


class Process(msgspec.Struct, frozen=True):
    """start: clock ticks since boot (proc(5), field 22), which tells a pid's uses apart."""

    pid: int
    start: int


class ServerEntry(msgspec.Struct, frozen=True):
    """leader: None until the shim has said who it is."""

    shim: Process
    leader: Process | None = None


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """pid_namespace: inode of /proc/self/ns/pid. cookie: the run's lowest; 0 where it has none."""

    schema: int = SCHEMA
    run_id: str
    boot_id: str
    pid_namespace: int
    cookie: int
    orchestrator: Process
    servers: tuple[ServerEntry, ...] = ()
    finished: bool = False

    @property
    def is_of_this_boot(self) -> bool:
        return self.boot_id == get_boot_id()

    @property
    def is_of_this_namespace(self) -> bool:
        return self.pid_namespace == get_pid_namespace()

    @property
    def has_living_orchestrator(self) -> bool:
        """Of this boot and namespace only; a recycled pid has another start time."""
        stat = proc.find_stat(self.orchestrator.pid)
        return stat is not None and stat.start == self.orchestrator.start and not stat.has_ended


def get_process(pid: int) -> Process:
    """Start 0 where it has ended or /proc is missing."""
    stat = proc.find_stat(pid)
    return Process(pid, 0 if stat is None else stat.start)


def get_boot_id() -> str:
    """Differs after every boot of the kernel; empty where /proc is missing."""
    return (proc.find_text("/proc/sys/kernel/random/boot_id") or b"").decode().strip()


def get_pid_namespace() -> int:
    """Pids mean something only inside one; 0 where /proc is missing."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - no other use of a Path here
    except OSError:
        return 0


def read(run_dir: Path) -> Ledger:
    """Raises FileNotFoundError, other OSErrors, and msgspec.DecodeError for what is no ledger."""
    try:
        ledger = msgspec.json.decode((run_dir / LEDGER_NAME).read_bytes(), type=Ledger)
    except UnicodeDecodeError as error:  # msgspec 0.21 lets it through
        raise msgspec.DecodeError(str(error)) from error
    if ledger.schema != SCHEMA:
        raise msgspec.ValidationError(f"schema {ledger.schema}, this version knows {SCHEMA}")
    return ledger


def write(run_dir: Path, ledger: Ledger) -> None:
    """Atomic and durable. Raises OSError."""
    write_atomic(run_dir / LEDGER_NAME, msgspec.json.encode(ledger))


@contextmanager
def hold_lock(run_dir: Path, *, create: bool) -> Iterator[bool]:
    """Hold the run's lock; False where somebody else does. The file is never unlinked.

    Without `create` a read-only folder will do. Raises FileNotFoundError without the file, and
    OSError on a file system without flock.
    """
    flags = os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
    fd = os.open(run_dir / LOCK_NAME, flags | os.O_CLOEXEC, 0o600)
    try:
        yield _try_lock(fd)
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

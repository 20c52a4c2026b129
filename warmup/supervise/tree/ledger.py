"""What a run leaves on disk for `reap`, should everything that could clear up be killed.

The orchestrator holds the lock `runs/<run id>/run.lock` while it lives, and the kernel lets go of
it when it ends, so a free lock is proof of death. `runs/<run id>/ledger.json` is
durable before anything is forked and says by which cookie the run's processes are known. The pids
in it tell a human what was what; `reap` trusts none of them.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from warmup.supervise.tree import proc
from warmup.words.files import Folder

SCHEMA = 1
_MAX_BYTES = 4 << 20
LOCK_NAME = "run.lock"
LEDGER_NAME = "ledger.json"


@dataclass(frozen=True)
class Process:
    """start: clock ticks since boot (proc(5), field 22), which tells a pid's uses apart."""

    pid: int
    start: int


@dataclass(frozen=True)
class ServerEntry:
    """leader: None until the shim has said who it is."""

    shim: Process
    leader: Process | None = None


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """pid_namespace: inode of /proc/self/ns/pid. cookie: the run's lowest; 0 where it has none.

    cgroup_parent: the folder in which the servers' control groups are; "" where they have none.
    """

    schema: int = SCHEMA
    run_id: str
    boot_id: str
    pid_namespace: int
    cookie: int
    orchestrator: Process
    cgroup_parent: str = ""
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


def read(run_dir: Folder) -> Ledger:
    """Raises FileNotFoundError, other OSErrors, and msgspec.DecodeError for another content."""
    import msgspec  # `exec` does without

    try:
        ledger = msgspec.json.decode(run_dir.read(LEDGER_NAME, _MAX_BYTES), type=Ledger)
    except UnicodeDecodeError as error:  # msgspec 0.21 lets it through
        raise msgspec.DecodeError(str(error)) from error
    if ledger.schema != SCHEMA:
        raise msgspec.ValidationError(f"schema {ledger.schema}, this version knows {SCHEMA}")
    return ledger


def write(run_dir: Folder, ledger: Ledger, *, durable: bool = True) -> None:
    """Atomic; it outlives the host only where it is `durable`. Raises OSError."""
    run_dir.write_atomic(LEDGER_NAME, json.dumps(asdict(ledger)).encode(), durable=durable)


def has_to_be_reaped(run_dir: Folder) -> bool:
    """Whether the ledger may be the one thing that tells which processes a dead run left."""
    try:
        ledger = json.loads(run_dir.read(LEDGER_NAME, _MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return False  # without a ledger nothing was started; an unreadable one tells nothing
    is_ours = isinstance(ledger, dict) and ledger.get("schema") == SCHEMA
    return is_ours and not ledger.get("finished") and ledger.get("boot_id") == get_boot_id()

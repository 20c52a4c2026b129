"""Notice a worker's death that the leader does not: it may answer 200 for ever (sglang#6624).

A process of the tree counts as a dead worker when a signal killed it, or when it failed and nobody
collects it. Compilers and probes fail all the time, but whoever started them waits for them. One of
multiprocessing's resource trackers serves nobody: a launcher that fails kills it with the rest.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct
import time
from dataclasses import dataclass

from warmup.supervise.protocols import Watched
from warmup.supervise.tree import kernel, proc
from warmup.supervise.tree.exits import describe_status

_MAX_HELD = 256  # pidfds: the usual limit of a process is 1024 descriptors
_UNREAPED_S = 1.0
_MIN_SCAN_S = 0.5
_SCAN_SHARE = 0.002  # of one core, at most, whatever the number of processes on this host
# Asked to end, not fallen over: launchers end their helpers so, and then wait for them.
_ORDERLY = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGALRM})
# linux/pidfd.h: struct pidfd_info of 64 bytes, exit_code last; exit status since Linux 6.15.
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = struct.Struct("=QQ11Ii")


@dataclass(frozen=True)
class _Zombie:
    pid: int
    start: int
    status: int  # as waitpid(2) gives it


@dataclass(frozen=True)
class DeadWorker:
    """status: as waitpid(2) gives it."""

    pid: int
    name: str
    status: int

    def __str__(self) -> str:
        """`worker pid 123 (python3 …) was killed by SIGKILL`"""
        return f"worker pid {self.pid} ({self.name}) {describe_status(self.status)}"


class WorkerWatch:
    """Polls the tree of one server; a context manager, because it holds pidfds."""

    def __init__(self, server: Watched) -> None:
        self._server = server
        self._held: dict[int, int] = {}  # pid → pidfd
        self._names: dict[int, str] = {}
        self._trackers: set[int] = set()
        self._poller = select.poll()
        self._ended: dict[int, int] = {}  # pidfd → pid: dead, perhaps not reaped yet
        self._suspects: dict[tuple[int, int], float] = {}  # (pid, start) → first seen
        self._next_scan = 0.0

    def __enter__(self) -> WorkerWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for pidfd in [*self._held.values(), *self._ended]:
            os.close(pidfd)
        self._held.clear()
        self._ended.clear()

    @property
    def has_suspects(self) -> bool:
        """Whether a failed process still waits for its parent: no answer is to be trusted yet."""
        return bool(self._suspects)

    def poll(self, *, scan: bool = False) -> DeadWorker | None:
        """The first that is found dead.

        Cheap between scans of /proc, which come at most every 0.5 s; `scan` asks for one now.
        """
        found = self._look_at_held()
        if found is None and (scan or time.monotonic() >= self._next_scan):
            began = time.monotonic()
            found = self._scan(began)
            spent = time.monotonic() - began
            self._next_scan = began + max(_MIN_SCAN_S, spent / _SCAN_SHARE)
        return found

    def _look_at_held(self) -> DeadWorker | None:
        """Those that ended since; one that its parent reaped can still be asked for its status."""
        pids = {pidfd: pid for pid, pidfd in self._held.items()}
        for pidfd, _ in self._poller.poll(0) if self._held else []:
            self._poller.unregister(pidfd)
            self._ended[pidfd] = pids[pidfd]
            del self._held[pids[pidfd]]
        for pidfd, pid in list(self._ended.items()):
            zombie = _find_zombie(pid)
            status = zombie.status if zombie is not None else _find_exit_status(pidfd)
            if zombie is None:
                os.close(pidfd)
                del self._ended[pidfd]
            if status is not None and _is_crash(status) and pid not in self._trackers:
                return self._make_dead(pid, status)
        return None

    def _scan(self, now: float) -> DeadWorker | None:
        pids = set(self._server.list_pids())
        for pid in pids - self._held.keys() - {self._server.leader_pid}:
            self._hold(pid)
        # What a process calls itself now (`sglang::scheduler`); in death it has no command line.
        self._names.update((pid, proc.get_command(pid)) for pid in self._held)
        self._trackers.update(filter(proc.is_resource_tracker, self._held))
        ignored = {self._server.leader_pid, *self._trackers}
        suspects = {}
        for zombie in _list_zombies(pids | set(self._ended.values())):
            if zombie.pid in ignored or zombie.status == 0:
                continue
            key = (zombie.pid, zombie.start)
            suspects[key] = self._suspects.get(key, now)
            if _is_crash(zombie.status) or now - suspects[key] >= _UNREAPED_S:
                return self._make_dead(zombie.pid, zombie.status)
        self._suspects = suspects
        return None

    def _hold(self, pid: int) -> None:
        if len(self._held) + len(self._ended) >= _MAX_HELD:
            return
        try:
            pidfd = kernel.find_pidfd(pid)
        except ProcessLookupError:
            return  # ended just now
        if pidfd is None:
            return  # no pidfds, or no room for one: zombies are seen all the same
        self._held[pid] = pidfd
        self._poller.register(pidfd, select.POLLIN)

    def _make_dead(self, pid: int, status: int) -> DeadWorker:
        return DeadWorker(pid, self._names.get(pid) or proc.get_command(pid), status)


def _is_crash(status: int) -> bool:
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) not in _ORDERLY


def _list_zombies(parents: set[int]) -> list[_Zombie]:
    """Unreaped children of these processes."""
    found = []
    for pid in proc.list_pids():
        stat = proc.find_stat(pid)
        if stat is not None and stat.state == "Z" and stat.ppid in parents:
            zombie = _find_zombie(pid)
            if zombie is not None:
                found.append(zombie)
    return found


def _find_zombie(pid: int) -> _Zombie | None:
    text = proc.find_text(f"/proc/{pid}/stat")
    if not text:
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    # proc(5) counts from 1 and these from field 3: state 3, starttime 22, exit_code 52
    if fields[0] != b"Z":
        return None
    return _Zombie(pid, int(fields[19]), int(fields[49]))


def _find_exit_status(pidfd: int) -> int | None:
    """How a reaped process ended; None where the kernel does not keep it (before Linux 6.15)."""
    request = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, *[0] * 13))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, request)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL, errno.ESRCH):
            return None
        raise
    mask, *_, exit_code = _PIDFD_INFO.unpack(request)
    return int(exit_code) if mask & _PIDFD_INFO_EXIT else None

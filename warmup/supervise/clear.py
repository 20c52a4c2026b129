"""Ending processes until none is left: two loops, for a subreaper and for everyone else.

`end_children` is the shim's. It kills its direct children only, until waitpid says ECHILD: what
they leave behind comes up to the subreaper and is next. Nobody else can reap those numbers, so
they cannot be recycled, and reaping all the time keeps a fork chain from filling pid_max. (Killing
a snapshot of the tree leaves hundreds where processes fork and exit in chains.)

`end_bearers` finds processes by cookie, wherever they went, and signals each through a pidfd.

Both leave multiprocessing's resource trackers for last and give them a second to unlink shared
memory.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from warmup.supervise import cookie, kernel, proc

DEADLINE_S = 30.0  # a killed process with a hundred pinned GiB takes seconds to give them back
_TRACKER_S = 1.0
_PAUSE_S = 0.02


@dataclass(frozen=True)
class Ended:
    """killed: (pid, command) of each that SIGKILL ended. survivors: what it could not end."""

    killed: tuple[tuple[int, str], ...] = ()
    survivors: tuple[str, ...] = ()


class _Spare:
    """Chooses whom to kill now: all but trackers, and those a second after the rest are gone."""

    def __init__(self) -> None:
        self._alone_since: float | None = None

    def choose(self, pids: Collection[int], dying: Collection[int] = ()) -> list[int]:
        """Of the living `pids` those to signal. `dying` were, so they are no trackers."""
        others = [pid for pid in pids if pid in dying or not proc.is_resource_tracker(pid)]
        if others or not pids:
            self._alone_since = None
            return others
        now = time.monotonic()
        self._alone_since = self._alone_since or now
        return list(pids) if now >= self._alone_since + _TRACKER_S else []


def reap_children(note: Callable[[int, int], None]) -> bool:
    """Reap every child that ended, telling `note` (pid, wait status); False when none is left.

    Only for a process whose children are all its own: it takes the status from any Popen.
    """
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        note(pid, status)


def end_children(note: Callable[[int, int], None]) -> Ended:
    """Kill and reap until this single-threaded process has no children, or for DEADLINE_S."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    deadline = time.monotonic() + DEADLINE_S
    spare = _Spare()
    signalled: dict[int, str] = {}
    killed: list[tuple[int, str]] = []

    def reaped(pid: int, status: int) -> None:
        command = signalled.pop(pid, None)  # popped: a descendant may get the number next
        if command is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            killed.append((pid, command))
        note(pid, status)

    while reap_children(reaped):
        children = proc.list_children(os.getpid())
        if time.monotonic() >= deadline:
            return Ended(tuple(killed), tuple(proc.describe(pid) for pid in children))
        for pid in spare.choose(children, signalled):
            if pid not in signalled:
                signalled[pid] = proc.get_command(pid)
                _kill_child(pid)
        signal.sigtimedwait({signal.SIGCHLD}, _PAUSE_S)
    return Ended(tuple(killed))


def _kill_child(pid: int) -> None:
    """SIGKILL to a direct child: until it is reaped, its number is its own."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # setuid to another user: the loop's deadline will report it


def end_bearers(cookies: range, *, exclude: Collection[int] = ()) -> Ended:
    """Kill every process that wears one of the cookies until none is found, or for DEADLINE_S.

    Those of them that are this process's children (it may be a subreaper) are reaped as well,
    one by one: a waitpid(-1) here would steal the status of somebody's Popen.
    """
    deadline = time.monotonic() + DEADLINE_S
    spare = _Spare()
    killed: dict[int, str] = {}
    num_quiet = 0
    # Twice, since a walk over /proc may miss a child that a process forked and left meanwhile.
    while num_quiet < 2:
        living = _list_living(cookies, exclude)
        num_quiet = 0 if living else num_quiet + 1
        if living and time.monotonic() >= deadline:
            return Ended(tuple(killed.items()), tuple(proc.describe(pid) for pid in living))
        pidfds: list[int] = []
        for pid in spare.choose(living):
            command = proc.get_command(pid)
            if _kill_bearer(pid, cookies, pidfds):
                killed[pid] = command
        if living:
            _wait_for_all(pidfds)
        for pidfd in pidfds:
            os.close(pidfd)
    return Ended(tuple(killed.items()))


def _list_living(cookies: range, exclude: Collection[int]) -> list[int]:
    living = []
    for pid in cookie.list_bearers(cookies):
        stat = proc.find_stat(pid)
        if stat is None or pid in exclude:
            continue
        if not stat.has_ended:
            living.append(pid)
        elif stat.ppid == os.getpid():
            os.waitpid(pid, os.WNOHANG)
    return living


def _kill_bearer(pid: int, cookies: range, pidfds: list[int]) -> bool:
    """Whether SIGKILL was sent, to that process and as long as it wears the cookie.

    The cookie is read again after the pidfd was opened: a number that was recycled in between shows
    another one, and if it is recycled later the pidfd names a process that is gone. The pidfd is
    added to `pidfds`; the caller closes it.
    """
    try:
        pidfd = kernel.find_pidfd(pid)
        if pidfd is not None:
            pidfds.append(pidfd)
        if cookie.find_cookie(pid) not in cookies:
            return False
        if pidfd is not None:
            return kernel.signal_pidfd(pidfd, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _wait_for_all(pidfds: Collection[int]) -> None:
    """Until all have ended, at most _PAUSE_S; the whole of it where there is nobody to wait for."""
    until = time.monotonic() + _PAUSE_S
    poll = select.poll()
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
    num_left = len(pidfds) or 1
    while num_left and (left_s := until - time.monotonic()) > 0:
        for pidfd, _ in poll.poll(left_s * 1000):
            poll.unregister(pidfd)
            num_left -= 1

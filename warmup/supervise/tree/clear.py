"""Ending processes until none is left: two loops, for a subreaper and for everyone else.

`end_children` is the shim's. It kills its direct children only, until waitpid says ECHILD: what
they leave behind comes up to the subreaper and is next. Nobody else can reap those numbers, so
they cannot be recycled, and reaping all the time keeps a fork chain from filling pid_max. (Killing
a snapshot of the tree leaves hundreds where processes fork and exit in chains.)

`end_bearers` ends the processes that wear a cookie. Those that came to this process, a subreaper,
because their shim was killed, go the same exact way. Then the rest of the host is searched, and
whoever is found is signalled through a pidfd.

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
from functools import cached_property

from warmup.supervise.tree import cookie, kernel, proc

DEADLINE_S = 30.0  # a killed process with a hundred pinned GiB takes seconds to give them back
_TRACKER_S = 1.0
_PAUSE_S = 0.02


@dataclass(frozen=True)
class Ended:
    """killed: (pid, command) of each that SIGKILL was sent to. survivors: whom it could not end."""

    killed: tuple[tuple[int, str], ...] = ()
    survivors: tuple[str, ...] = ()


class _Spare:
    """Which trackers to leave alone for now: all, until a second after the rest are gone.

    They are known beforehand. To read a command line is to wait for the fork that its process is
    in, and then to kill a link of a chain just when it has handed on.
    """

    def __init__(self, tree: Collection[int]) -> None:
        self._trackers = frozenset(pid for pid in tree if proc.is_resource_tracker(pid))
        self._alone_since: float | None = None

    def get_pids(self) -> frozenset[int]:
        since = self._alone_since
        is_over = since is not None and time.monotonic() >= since + _TRACKER_S
        return frozenset() if is_over else self._trackers

    def note(self, living: Collection[int]) -> None:
        """Told after each round who is there."""
        if not self._trackers.issuperset(living):
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = time.monotonic()


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


def end_children(note: Callable[[int, int], None]) -> tuple[int, tuple[str, ...]]:
    """Kill and reap until this single-threaded process has no children, or for DEADLINE_S.

    Answers how many SIGKILL ended, and descriptions of those that it could not end.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    deadline = time.monotonic() + DEADLINE_S
    spare = _Spare(proc.list_descendants(os.getpid()))
    signalled: set[int] = set()
    num_killed = 0

    def reaped(pid: int, status: int) -> None:
        nonlocal num_killed
        if pid in signalled and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            num_killed += 1
        signalled.discard(pid)  # a descendant may get the number next
        note(pid, status)

    while reap_children(reaped):
        children = proc.list_children(os.getpid())
        if time.monotonic() >= deadline:
            return num_killed, tuple(proc.describe(pid) for pid in children)
        untouched = signalled | spare.get_pids()
        # Youngest first: they are the likeliest to move on.
        for pid in reversed([pid for pid in children if pid not in untouched]):
            signalled.add(pid)
            _kill_child(pid)
        spare.note(children)
        signal.sigtimedwait({signal.SIGCHLD}, _PAUSE_S)
    return num_killed, ()


def _kill_child(pid: int) -> None:
    """SIGKILL to a direct child: until it is reaped, its number is its own."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # setuid to another user: the loop's deadline will report it


def end_bearers(cookies: range, *, num_scans: int = 1) -> Ended:
    """Kill every process that wears one of the cookies until none is found, or for DEADLINE_S.

    num_scans: searches of /proc, one after the other, that must find nobody new, not even ended.
    One is enough for what came to this subreaper, since it has no such child then. Elsewhere a
    process may fork and exit between being listed and being looked at: a search can miss a chain.
    """
    deadline = time.monotonic() + DEADLINE_S
    hunt = _Hunt(cookies)
    num_quiet = 0
    while num_quiet < num_scans:
        living = hunt.strike_own()
        if living is None:
            living, has_news = hunt.strike_all()
            num_quiet = 0 if living or has_news else num_quiet + 1
        if num_quiet == 0 and time.monotonic() >= deadline:
            left = tuple(proc.describe(pid) for pid in living)
            return Ended(hunt.killed, left or ("processes that fork and exit too fast to catch",))
        hunt.rest(living)
    return Ended(hunt.killed)


class _Hunt:
    """Strikes at sight: the longer one looks at a link of a fork chain, the likelier it is gone."""

    def __init__(self, cookies: range) -> None:
        self._cookies = cookies
        self._killed: dict[int, str] = {}
        self._pidfds: list[int] = []
        self._seen_ended: set[int] = set()

    @cached_property
    def _commands(self) -> dict[int, str]:
        """Of all bearers, once the first was seen: mostly there is none."""
        return {pid: proc.get_command(pid) for pid in cookie.list_bearers(self._cookies)}

    @cached_property
    def _spare(self) -> _Spare:
        return _Spare(self._commands)

    @property
    def killed(self) -> tuple[tuple[int, str], ...]:
        return tuple(self._killed.items())

    def strike_own(self) -> list[int] | None:
        """Strike at this process's children that wear a cookie, and reap those that ended.

        None where not even an ended one was left, which is exact: a process hands its children up
        before it shows as ended, and only we reap, so nobody slips by while the list is read.
        """
        children = reversed(proc.list_children(os.getpid()))
        own = [pid for pid in children if self._strike_child(pid)]
        living = [pid for pid in own if not self._reap(pid)]
        return living if own else None

    def _strike_child(self, pid: int) -> bool:
        """Whether it wears a cookie. Until it is reaped, its number is its own."""
        if cookie.find_cookie(pid) not in self._cookies:
            return False
        if pid not in self._spare.get_pids():
            _kill_child(pid)
        return True

    def _reap(self, pid: int) -> bool:
        """Whether this child has ended. A waitpid(-1) would steal the status of some Popen."""
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended == 0:
            pidfd = kernel.find_pidfd(pid)
            self._pidfds.extend([] if pidfd is None else [pidfd])
        elif os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            self._killed[pid] = self._commands.get(pid, "")
        return ended != 0

    def strike_all(self) -> tuple[list[int], bool]:
        """The same on the whole host, for who never came to us, through pidfds.

        Also whether some have ended since the last time that had not been seen: then somebody
        forked them. (Where PID 1 reaps at leisure, looking takes longer than a link lives.)
        """
        num_seen = len(self._seen_ended)
        living = dict.fromkeys(pid for pid in proc.iterate_youngest_first() if self._strike(pid))
        return list(living), len(self._seen_ended) > num_seen

    def rest(self, living: Collection[int]) -> None:
        """After each round; where trackers alone are left there is something to wait for, too."""
        if self._pidfds or living:
            self._spare.note(living)
            _wait_for_all(self._pidfds)
        for pidfd in self._pidfds:
            os.close(pidfd)
        self._pidfds.clear()

    def _strike(self, pid: int) -> bool:
        """Whether it wears a cookie and lives; if so it is signalled, unless it is to be spared."""
        if cookie.find_cookie(pid) not in self._cookies:
            return False
        if not proc.is_living(pid):
            self._seen_ended.add(pid)
            return False
        if pid not in self._spare.get_pids() and self._kill(pid):
            command = self._commands.get(pid) or f"[{proc.get_name(pid)}]"
            self._killed[pid] = command
        return True

    def _kill(self, pid: int) -> bool:
        """Whether SIGKILL was sent, to this very process and because it wears the cookie.

        The cookie is read again after the pidfd was opened: a number that was recycled in between
        shows another one, and if it is recycled later the pidfd names a process that is gone.
        """
        try:
            pidfd = kernel.find_pidfd(pid)
            if pidfd is not None:
                self._pidfds.append(pidfd)
            if cookie.find_cookie(pid) not in self._cookies:
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

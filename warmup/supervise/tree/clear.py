"""Ending processes until none is left: two loops, for a subreaper and for everyone else.

`end_children` is the shim's. It kills its direct children only, until waitpid says ECHILD: what
they leave behind comes up to the subreaper and is next. Nobody else can reap those numbers, so
they cannot be recycled, and reaping all the time keeps a fork chain from filling pid_max. (Killing
a snapshot of the tree leaves hundreds where processes fork and exit in chains.)

`end_bearers` ends the processes that wear a cookie. Those that came to this process, a subreaper,
because their shim was killed, go the same exact way, with or without the cookie. Then the rest of
the host is searched, and whoever is found is signalled through a pidfd.

Where the tree was put into a control group and is large, the group is killed first, at one blow.
What lives on for a second is either too many (a fork bomb) or shielded by a parent that cannot die
at once (state D). Then the whole tree is frozen and killed, wherever its processes hang.

Both leave multiprocessing's resource trackers for last and give them a second to unlink shared
memory.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from types import SimpleNamespace

from warmup.supervise.tree import cookie, kernel, proc
from warmup.supervise.tree.cgroup import ControlGroup
from warmup.supervise.tree.members import Members, describe_all
from warmup.supervise.tree.timing import DEADLINE_S, Clock, SparedTrackers

_SEARCH_PAUSE_S = 0.005


class Ended(SimpleNamespace):
    """killed: (pid, command) of each that SIGKILL ended. survivors: whom it could not end."""

    killed: tuple[tuple[int, str], ...]
    survivors: tuple[str, ...]

    def __init__(
        self, killed: tuple[tuple[int, str], ...] = (), survivors: tuple[str, ...] = ()
    ) -> None:
        super().__init__(killed=killed, survivors=survivors)


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


def end_children(
    note: Callable[[int, int], None],
    cookies: range,
    *,
    groups: Sequence[ControlGroup] = (),
    timeout_s: float = DEADLINE_S,
) -> tuple[int, tuple[str, ...]]:
    """Kill and reap until this single-threaded process has no children, or for `timeout_s`.

    cookies, groups: what the tree wears, and was put into. Answers how many SIGKILL ended, and
    descriptions of those that it could not end.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    clock = Clock(timeout_s)
    signalled = {pid for group in groups for pid in group.kill_many()}
    members = Members(cookies, lambda: proc.list_children(os.getpid()), False, groups)
    spared = SparedTrackers(proc.list_descendants(os.getpid()), clock)
    num_killed = 0

    def reaped(pid: int, status: int) -> None:
        nonlocal num_killed
        if pid in signalled and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            num_killed += 1
        signalled.discard(pid)  # a descendant may get the number next
        note(pid, status)

    while reap_children(reaped):
        children = proc.list_children(os.getpid())
        if clock.is_over:
            return num_killed, describe_all(members.list_living())
        if clock.is_late:
            signalled.update(members.freeze_and_kill(spared.get_pids()))
        untouched = signalled | spared.get_pids()
        # Youngest first: they are the likeliest to move on.
        for pid in reversed([pid for pid in children if pid not in untouched]):
            signalled.add(pid)
            _kill_child(pid)
        spared.note(children)
        signal.sigtimedwait({signal.SIGCHLD}, clock.pause_s)
    return num_killed, ()


def _kill_child(pid: int) -> None:
    """SIGKILL to a direct child: until it is reaped, its number is its own."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # setuid to another user: the loop's deadline will report it


def end_bearers(
    cookies: range,
    *,
    groups: Sequence[ControlGroup] = (),
    list_orphans: Callable[[], list[int]] = list,
    num_scans: int = 1,
    timeout_s: float = DEADLINE_S,
) -> Ended:
    """Kill every process that wears one of the cookies until none is found, or for `timeout_s`.

    list_orphans: children of this process that are of the tree though they may wear no cookie.
    num_scans: searches of /proc, one after the other, that must find nobody new, not even ended.
    One is enough for what came to this subreaper, since it has no such child then. Elsewhere a
    process may fork and exit between being listed and being looked at: a search can miss a chain.
    """
    num_quiet = 0
    with kernel.raised_priority():
        search = _Search(cookies, groups, list_orphans, timeout_s)
        while num_quiet < num_scans:
            living, has_news = search.strike()
            num_quiet = 0 if living or has_news else num_quiet + 1
            if num_quiet == 0 and search.clock.is_over:
                left = describe_all(living)
                killed = tuple((pid, name) for pid, name in search.killed if pid not in living)
                return Ended(killed, left or ("processes that fork and exit too fast to catch",))
            search.rest(living)
    return Ended(search.killed)


class _Search:
    """Strikes at sight: the longer one looks at a link of a fork chain, the likelier it is gone."""

    def __init__(
        self,
        cookies: range,
        groups: Sequence[ControlGroup],
        list_orphans: Callable[[], list[int]],
        timeout_s: float,
    ) -> None:
        self.clock = Clock(timeout_s)
        self._cookies = cookies
        self._list_orphans = list_orphans
        self._members = Members(cookies, self._list_own, True, groups)
        many = [pid for group in groups for pid in group.kill_many()]
        self._killed = {pid: f"[{proc.get_name(pid)}]" for pid in many}
        self._seen_ended: set[int] = set()

    @cached_property
    def _commands(self) -> dict[int, str]:
        """Of all members, once the first was seen: mostly there is none."""
        return {pid: proc.get_command(pid) for pid in dict.fromkeys(self._members.iterate())}

    @cached_property
    def _spared(self) -> SparedTrackers:
        return SparedTrackers(self._commands, self.clock)

    @property
    def killed(self) -> tuple[tuple[int, str], ...]:
        return tuple(self._killed.items())

    def strike(self) -> tuple[list[int], bool]:
        """One round: who lives on, and whether anybody was seen that had not been seen before.

        As long as children of this process are left, nobody else is looked for: that is exact, and
        what hangs below them comes up to us. It is not waited for longer than a second.
        """
        has_children, living = self._strike_own()
        if has_children and not self.clock.is_late:
            return living, True
        if self.clock.is_late:
            for pid in self._members.freeze_and_kill(self._spared.get_pids()):
                self._note_killed(pid)
        living, has_news = self._strike_all()
        return list(dict.fromkeys([*living, *self._members.list_living()])), has_news

    def _list_own(self) -> list[int]:
        """Children of this process that are of the tree, oldest first, ended ones included."""
        orphans = frozenset(self._list_orphans())
        children = proc.list_children(os.getpid())
        return [
            pid for pid in children if pid in orphans or cookie.find_cookie(pid) in self._cookies
        ]

    def _strike_own(self) -> tuple[bool, list[int]]:
        """Whether there was any such child, be it an ended one, and who of them lives on.

        A process hands its children up before it shows as ended, and only we reap, so nobody slips
        by while the list is read.
        """
        own = list(reversed(self._list_own()))
        for pid in own:
            if pid not in self._spared.get_pids():
                _kill_child(pid)
        return bool(own), [pid for pid in own if not self._reap(pid)]

    def _reap(self, pid: int) -> bool:
        """Whether this child has ended. A waitpid(-1) would steal the status of some Popen."""
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            self._killed[pid] = self._commands.get(pid, "")
        return ended != 0

    def _strike_all(self) -> tuple[list[int], bool]:
        """The same on the whole host, for who never came to us, through pidfds.

        Also whether some have ended since the last time that had not been seen: then somebody
        forked them. (Where PID 1 reaps at leisure, looking takes longer than a link lives.)
        """
        num_seen = len(self._seen_ended)
        living = dict.fromkeys(pid for pid in proc.iterate_youngest_first() if self._strike(pid))
        return list(living), len(self._seen_ended) > num_seen

    def _strike(self, pid: int) -> bool:
        """Whether it wears a cookie and lives; if so it is signalled, unless it is to be spared."""
        if cookie.find_cookie(pid) not in self._cookies:
            return False
        if not proc.is_living(pid):
            self._seen_ended.add(pid)
            return False
        if pid not in self._spared.get_pids() and self._members.signal(pid, signal.SIGKILL):
            self._note_killed(pid)
        return True

    def _note_killed(self, pid: int) -> None:
        self._killed[pid] = self._commands.get(pid) or f"[{proc.get_name(pid)}]"

    def rest(self, living: list[int]) -> None:
        """After each round, where somebody is left to wait for. A chain is not: it gets away."""
        if living:
            self._spared.note(living)
            time.sleep(self.clock.pause_s if self.clock.is_late else _SEARCH_PAUSE_S)

"""Who belongs to a tree that is to be ended, and how to signal those who are not our children.

Two things show that a process is of the tree: it wears one of the tree's cookies, or one of the
tree's children of ours is its ancestor. The second finds also those that changed their limits.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from warmup.supervise.tree import cookie, kernel, proc
from warmup.supervise.tree.cgroup import ControlGroup

_MAX_SWEEPS = 10
_NUM_AT_ONCE = 16
_END_S = 0.2
_MAX_DESCRIBED = 20


class Orphans:
    """The children that came to this process, a subreaper, because their shim was killed.

    since: the shim's start in clock ticks. list_known: pids of children that are no orphans. A shim
    leads a session of its own, and nobody can enter ours from another one. So a child of ours with
    a foreign session is either one that we put into it (a shim, or older than this one) or an
    orphan.
    """

    def __init__(self, since: int, list_known: Callable[[], Collection[int]]) -> None:
        self.since = since
        self.list_known = list_known

    def list_pids(self) -> list[int]:
        """Oldest first, those that have ended included."""
        known, session = self.list_known(), os.getsid(0)
        children = [pid for pid in proc.list_children(os.getpid()) if pid not in known]
        stats = ((pid, proc.find_stat(pid)) for pid in children)
        return [
            pid
            for pid, stat in stats
            if stat is not None and stat.session != session and stat.start >= self.since
        ]


class Members:
    """cookies: those that the tree wears. list_roots: the tree's direct children of this process.

    is_anywhere: whether members may live elsewhere than below those children. groups: those that
    the tree's processes were put into.
    """

    def __init__(
        self,
        cookies: range,
        list_roots: Callable[[], list[int]],
        is_anywhere: bool,
        groups: Sequence[ControlGroup] = (),
    ) -> None:
        self.cookies = cookies
        self.list_roots = list_roots
        self.is_anywhere = is_anywhere
        self.groups = groups

    def is_member(self, pid: int) -> bool:
        if cookie.find_cookie(pid) in self.cookies:
            return True
        roots = self.list_roots()
        return pid in roots or (bool(roots) and proc.has_ancestor(pid, roots))

    def iterate(self) -> Iterator[int]:
        """Candidates, some of them twice: those above come before those below them."""
        roots = self.list_roots()
        yield from roots
        for pid in roots:
            yield from proc.list_descendants(pid)
        if self.is_anywhere:
            for pid in proc.iterate_youngest_first():
                if cookie.find_cookie(pid) in self.cookies:
                    yield pid

    def list_living(self) -> list[int]:
        return [pid for pid in dict.fromkeys(self.iterate()) if proc.is_living(pid)]

    def freeze_and_kill(self, spared: Collection[int]) -> list[int]:
        """SIGSTOP to all until nobody new is found, then SIGKILL to all. Answers whom it killed.

        Where nobody is to be spared, their groups are killed at one blow before that.

        A process to which SIGSTOP was sent forks no more. So a tree that forks faster than it can
        be killed shrinks from the first sweep on, and one that fills its pid limit stands still.
        Few are killed at a time: relatives share locks of the kernel's memory management, and a
        thousand that exit at once wait for each other for a minute.
        """
        killed = [] if spared else [pid for group in self.groups for pid in group.kill()]
        frozen: set[int] = set()
        for _ in range(_MAX_SWEEPS):
            new = self._signal_all(signal.SIGSTOP, {*frozen, *spared})
            if not new:
                break
            frozen.update(new)
        pids = [pid for pid in dict.fromkeys(self.iterate()) if pid not in spared]
        for index in range(0, len(pids), _NUM_AT_ONCE):
            batch = pids[index : index + _NUM_AT_ONCE]
            struck = [pid for pid in batch if self.signal(pid, signal.SIGKILL)]
            _await_ends(struck)
            killed += struck
        return killed

    def _signal_all(self, signum: int, spared: Collection[int]) -> list[int]:
        done = set(spared)
        signalled = []
        for pid in self.iterate():
            if pid not in done and self.signal(pid, signum):
                signalled.append(pid)
            done.add(pid)
        return signalled

    def signal(self, pid: int, signum: int) -> bool:
        """Whether it was sent, to this very process and because it is a member.

        Membership is asked after the pidfd was opened: a number that was recycled in between
        belongs to a stranger, and if it is recycled later the pidfd names a process that is gone.
        """
        try:
            pidfd = kernel.find_pidfd(pid)
        except ProcessLookupError:
            return False
        try:
            if not self.is_member(pid) or not proc.is_living(pid):
                return False
            if pidfd is not None:
                return kernel.signal_pidfd(pidfd, signum)
            os.kill(pid, signum)
        except (ProcessLookupError, PermissionError):
            return False  # setuid to another user: whoever waits for its end will report it
        finally:
            if pidfd is not None:
                os.close(pidfd)
        return True


def _await_ends(pids: Collection[int]) -> None:
    until = time.monotonic() + _END_S
    while any(proc.is_living(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.001)


def describe_all(pids: Collection[int]) -> tuple[str, ...]:
    """For a human; of very many only the first are described, the others are counted."""
    shown = list(pids)[:_MAX_DESCRIBED]
    more = len(pids) - len(shown)
    texts = [proc.describe(pid) for pid in shown]
    return (*texts, *([f"and {more} more processes"] if more else []))

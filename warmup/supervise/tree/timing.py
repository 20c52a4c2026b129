"""When to strike whom while a tree is being ended."""

from __future__ import annotations

import time
from collections.abc import Collection

from warmup.supervise.tree import proc

DEADLINE_S = 30.0  # a killed process with a hundred pinned GiB takes seconds to give them back
_PATIENCE_S = 1.0
_MANY = 512
_TRACKER_S = 1.0
_PAUSE_S = 0.02
_LATE_PAUSE_S = 0.25


class Clock:
    """Since when a tree is being ended, and what that calls for."""

    def __init__(self, timeout_s: float) -> None:
        self._began = time.monotonic()
        self._timeout_s = timeout_s
        self._patience_s = _PATIENCE_S

    def note_size(self, num_processes: int) -> None:
        """A tree of very many is struck as a whole at once: it may be growing."""
        if num_processes > _MANY:
            self._patience_s = 0.0

    @property
    def _passed_s(self) -> float:
        return time.monotonic() - self._began

    @property
    def is_over(self) -> bool:
        return self._passed_s >= self._timeout_s

    @property
    def is_late(self) -> bool:
        """Whether to strike at the whole tree."""
        return self._passed_s >= self._patience_s

    @property
    def is_half_over(self) -> bool:
        return self._passed_s >= self._timeout_s / 2

    @property
    def pause_s(self) -> float:
        return _LATE_PAUSE_S if self.is_late else _PAUSE_S


class SparedTrackers:
    """Which trackers to leave alone for now: all, until a second after the rest are gone.

    After half of the time none is spared: the rest may not go at all.

    They are looked for beforehand. Reading a command line waits for the fork that its process is
    in, and that would cost the chance to catch a link of a fork chain.
    """

    def __init__(self, tree: Collection[int], clock: Clock) -> None:
        clock.note_size(len(tree))
        self._trackers = frozenset(pid for pid in tree if proc.is_resource_tracker(pid))
        self._clock = clock
        self._alone_since: float | None = None

    def get_pids(self) -> frozenset[int]:
        since = self._alone_since
        is_over = since is not None and time.monotonic() >= since + _TRACKER_S
        return frozenset() if is_over or self._clock.is_half_over else self._trackers

    def note(self, living: Collection[int]) -> None:
        """To be called after each round, with all who are still there."""
        if not self._trackers.issuperset(living):
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = time.monotonic()

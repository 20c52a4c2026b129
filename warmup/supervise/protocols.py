"""What the waiting half of `supervise` needs of the process half.

The real ones are `warmup.supervise.tree.supervisor.Supervisor` and its `Server`.
"""

from __future__ import annotations

from typing import Protocol

from warmup.supervise.tree.exits import LeaderExit


class Waiter(Protocol):
    """The sleep of every polling loop, and the place where a cancellation shows."""

    def wait(self, timeout_s: float) -> None:
        """Sleep; returns early on a signal or the exit of a server."""

    def check_cancelled(self) -> None:
        """Raises `Cancelled` once a signal, or our parent's death, asks to stop."""


class Watched(Protocol):
    """One running server: its leader and every process that the leader started."""

    @property
    def leader_pid(self) -> int: ...

    def find_exit(self) -> LeaderExit | None:
        """How the leader ended; None while it lives."""

    def list_pids(self) -> list[int]:
        """Every living (no zombie) process of the tree, the leader included."""

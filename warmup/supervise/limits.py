"""How long a run may take, and how much of a server's log it shows and keeps."""

from __future__ import annotations

import time

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """deadline: monotonic seconds, the same in every process, by which the whole step must have
    ended; None without one. log_lines: of a server's log to show. max_log_bytes: to keep on disk.
    """

    deadline: float | None = None
    log_lines: int
    max_log_bytes: int

    @property
    def is_over(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def cut(self, timeout_s: float) -> float:
        """The timeout, or what is left of the step where that is less."""
        if self.deadline is None:
            return timeout_s
        return max(0.0, min(timeout_s, self.deadline - time.monotonic()))

"""What asks the orchestrator to stop: signals, and the death of its parent.

GitHub's runner signals a step's root process alone (ProcessInvoker.cs). A bash that does not `exec`
us passes nothing on and dies by the SIGTERM itself, so its death counts as a SIGTERM to us.
Handlers only record; whoever polls `fds` wakes up. To run detached on purpose: `setsid --fork`.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

from warmup.supervise.tree import kernel
from warmup.words.errors import Cancelled

_CANCELLING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CancelWatch:
    """Holds the handlers from `open` to `close`; on the main thread only, as Python demands."""

    def __init__(self) -> None:
        self._received: list[int] = []
        self._old_handlers: dict[int, Any] = {}
        self._old_wakeup_fd = -1
        self._wake = self._wake_end = -1
        self._parent = os.getppid()
        self._parent_pidfd: int | None = None
        self._has_seen_death = False

    def open(self) -> None:
        self._wake, self._wake_end = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._wake_end, False)
        self._old_wakeup_fd = signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        for signum in (*_CANCELLING, signal.SIGCHLD):
            # nohup's wish is kept; but who sends a SIGINT that a shell's `&` ignores, means it.
            if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:
                self._old_handlers[signum] = signal.signal(signum, self._record)
        # Parent 0 lives outside our PID namespace: then nobody's death can be seen.
        if self._parent:
            try:
                self._parent_pidfd = kernel.find_pidfd(self._parent)
            except ProcessLookupError:
                return  # getppid has changed, which is what counts

    def close(self) -> None:
        for signum, handler in self._old_handlers.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._old_wakeup_fd)
        for fd in (self._wake, self._wake_end, self._parent_pidfd):
            if fd is not None:
                os.close(fd)

    def _record(self, signum: int, _frame: FrameType | None) -> None:
        if signum != signal.SIGCHLD:
            self._received.append(signum)

    @property
    def fds(self) -> list[int]:
        """Readable when there is news. The parent's pidfd stays readable, so it counts once."""
        if self._parent_pidfd is None or self._has_seen_death:
            return [self._wake]
        return [self._wake, self._parent_pidfd]

    def drain(self) -> None:
        """Take the news, so that the next poll waits again."""
        self._has_seen_death = self._has_seen_death or os.getppid() != self._parent
        try:
            os.read(self._wake, 4096)
        except BlockingIOError:
            return

    @property
    def num_signals(self) -> int:
        return len(self._received)

    def find_reason(self) -> Cancelled | None:
        """The first signal, or else the parent's death with the status of a SIGTERM."""
        if self._received:
            first = signal.Signals(self._received[0])
            return Cancelled(first, first.name)
        if os.getppid() != self._parent:
            return Cancelled(signal.SIGTERM, "the death of its parent")
        return None

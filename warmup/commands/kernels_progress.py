"""How far a compilation is: a bar on a terminal, plain lines elsewhere. On stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from warmup.report.output import Output
from warmup.words.escape import get_printable

if TYPE_CHECKING:
    from warmup.kernels.pool import Outcome

_HEARTBEAT_S = 30.0


class Progress:
    """Kernels done, rate, time left. A context, since a bar must be taken away."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._err = Output(sys.stderr)
        self._begin = self._last = time.monotonic()
        self._bar: Any = None
        self._told = f"{what}: starting"

    def __enter__(self) -> Progress:
        if self._err.is_terminal:
            self._bar = _make_bar(self._err)
            self._bar.start()
            self._bar.add_task(self._what, total=None, rate="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_outcome(self, outcome: Outcome, done: int, total: int) -> None:
        """One more has ended; a failure is a line of its own at once."""
        if outcome.error is not None:
            text = f"{outcome.job.name} failed: {outcome.error.splitlines()[0]}"
            self._err.line(get_printable(text))
        rate = done / max(time.monotonic() - self._begin, 1e-3)
        left_s = (total - done) / rate
        self._told = f"{self._what}: {done} of {total}, {rate:.1f} a second, {left_s:.0f} s left"
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=done, total=total, rate=f"{rate:.1f}/s"
            )
        elif done == total:
            self._tell()

    def tick(self) -> None:
        """Called several times a second: a line every 30 s, for logs that would look stuck."""
        if self._bar is None and time.monotonic() - self._last >= _HEARTBEAT_S:
            self._tell()

    def _tell(self) -> None:
        self._last = time.monotonic()
        self._err.line(self._told)


def _make_bar(err: Output) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(file=err.stream),
        transient=True,
        refresh_per_second=4,
    )

"""Moving lines on a terminal. The one owner of progress bars; rich draws them.

rich reads NO_COLOR and the terminal's width itself; it is imported when something first moves,
since a run that finds all models warm needs none of it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from warmup.report.output import Output

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

HEARTBEAT_S = 30.0  # a log without a line for longer looks stuck


class Spinner:
    """Which model, which phase, for how long: at most one line, cleared when it stops.

    It redraws from a thread, so `warmup.report.console` has it stopped while a server is forked.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._progress: Progress | None = None

    def show(self, name: str, text: str, done: int, total: int) -> None:
        """name: of the model. text: what it is doing. done, total: models of the run."""
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TimeElapsedColumn

        self.stop()
        columns = [
            SpinnerColumn(),
            _make_column("{task.description}", 2),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            _make_column("{task.fields[text]}", 3),
        ]
        self._progress = _make_progress(self._stream, columns)
        self._progress.add_task(name, total=max(total, 1), completed=done, text=text)
        with contextlib.suppress(OSError):  # the terminal went away: so be it
            self._progress.start()

    def update(self, text: str) -> None:
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], text=text)

    def stop(self) -> None:
        if self._progress is not None:
            progress, self._progress = self._progress, None
            with contextlib.suppress(OSError):
                progress.stop()


class JobLines:
    """One moving line for each model that is being warmed; all are hidden while text is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def update(self, name: str, text: str) -> None:
        """What a model is doing now; its line is new where it has none."""
        if self._progress is None:
            from rich.progress import SpinnerColumn, TimeElapsedColumn

            columns = [
                SpinnerColumn(),
                _make_column("{task.description}", 2),
                TimeElapsedColumn(),
                _make_column("{task.fields[text]}", 3),
            ]
            self._progress = _make_progress(self._stream, columns)
        if name in self._tasks:
            self._progress.update(self._tasks[name], text=text)
        else:
            self._tasks[name] = self._progress.add_task(name, total=None, text=text)

    def end(self, name: str) -> None:
        if self._progress is not None and name in self._tasks:
            self._progress.remove_task(self._tasks.pop(name))

    def show(self) -> None:
        if self._progress is not None and self._tasks:
            with contextlib.suppress(OSError):
                self._progress.start()

    def hide(self) -> None:
        if self._progress is not None:
            with contextlib.suppress(OSError):
                self._progress.stop()


class CountBar:
    """How many of many are done: a bar with rate and time left, elsewhere a line every 30 s.

    what: is being counted. A context, since a bar must be taken away.
    """

    def __init__(self, what: str, err: Output) -> None:
        self._what, self._err = what, err
        self._begin = self._last = time.monotonic()
        self._progress: Progress | None = None
        self._text = f"{what}: starting"

    def __enter__(self) -> CountBar:
        if self._err.is_terminal:
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            columns = [
                _make_column("{task.description}", 2),
                BarColumn(),
                MofNCompleteColumn(),
                _make_column("{task.fields[rate]}", 1),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            ]
            self._progress = _make_progress(self._err.stream, columns)
            self._progress.add_task(self._what, total=None, rate="")
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self, done: int, total: int) -> None:
        rate = done / max(time.monotonic() - self._begin, 1e-3)
        left_s = (total - done) / rate if done else 0.0
        self._text = f"{self._what}: {done} of {total}, {rate:.1f} a second, {left_s:.0f} s left"
        if self._progress is not None:
            task = self._progress.task_ids[0]
            self._progress.update(task, completed=done, total=total, rate=f"{rate:.1f}/s")
        elif done == total:
            self._tell()

    def tick(self) -> None:
        """Called several times a second, so that the heartbeat comes."""
        if self._progress is None and time.monotonic() - self._last >= HEARTBEAT_S:
            self._tell()

    def _tell(self) -> None:
        self._last = time.monotonic()
        self._err.line(self._text)


def _make_column(template: str, ratio: int) -> ProgressColumn:
    """A model's folder may be called `[red]`: it is text, not markup."""
    from rich.progress import TextColumn
    from rich.table import Column

    cell = Column(no_wrap=True, overflow="ellipsis", ratio=ratio)
    return TextColumn(template, markup=False, table_column=cell)


def _make_progress(stream: TextIO, columns: Sequence[ProgressColumn]) -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(
        *columns,
        console=Console(file=stream, force_terminal=True),
        transient=True,
        refresh_per_second=4,
        expand=True,
    )

"""The moving line on a terminal: which model, which phase, for how long."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress


class Spinner:
    """At most one live line, cleared when it stops.

    It redraws from a thread, so `warmup.report.console` has it stopped while a server is forked.
    rich reads NO_COLOR and the terminal's width itself; it is imported when something first
    moves, since a run that finds all models warm needs none of it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._progress: Progress | None = None

    def show(self, name: str, text: str, done: int, total: int) -> None:
        """name: of the model. text: what it is doing. done, total: models of the run."""
        self.stop()
        self._progress = _make_progress(self._stream)
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


def _make_progress(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.table import Column

    def column(template: str, ratio: int) -> TextColumn:
        # A model's folder may be called `[red]`: it is text, not markup.
        cell = Column(no_wrap=True, overflow="ellipsis", ratio=ratio)
        return TextColumn(template, markup=False, table_column=cell)

    return Progress(
        SpinnerColumn(),
        column("{task.description}", 2),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        column("{task.fields[text]}", 3),
        console=Console(file=stream, force_terminal=True),
        transient=True,
        refresh_per_second=4,
        expand=True,
    )

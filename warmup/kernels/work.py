"""What every compilation shares: a run's folder, cancelling, progress, what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from warmup.report.api import CountBar, Output
from warmup.state.api import Home, make_run_id
from warmup.words.errors import EXIT_FAILED, EXIT_OK
from warmup.words.escape import get_printable

if TYPE_CHECKING:
    from warmup.kernels.pool import JobOutcome
    from warmup.supervise.api import CancelWatch


@dataclass(frozen=True)
class KernelWork:
    """run_dir: of this run, for logs. run_id: its name."""

    run_dir: Path
    run_id: str
    _bar: CountBar
    _err: Output
    _begin: float
    _cancel: CancelWatch

    @property
    def log(self) -> Path:
        return self.run_dir / "kernels.log"

    def check(self) -> None:
        """Raises Cancelled once a signal came or the parent died; else tells how far it is."""
        reason = self._cancel.find_reason()
        if reason is not None:
            raise reason
        self._bar.tick()

    def on_outcome(self, outcome: JobOutcome, done: int, total: int) -> None:
        """One more kernel has ended; a failure is a line of its own at once."""
        if outcome.error is not None:
            text = f"{outcome.job.name} failed: {outcome.error.splitlines()[0]}"
            self._err.line(get_printable(text))
        self._bar.advance(done, total)

    def conclude(
        self,
        action: str,
        *,
        kernels: int,
        failed: Sequence[str],
        cache_dir: Path,
        notes: Sequence[str] = (),
        models: Sequence[dict[str, object]] = (),
        is_whole: bool = True,
    ) -> KernelsDocument:
        """Tell the notes, and make the document. is_whole: whether all that was asked for could be
        tried."""
        for note in notes:
            self._err.line(get_printable(note))
        return KernelsDocument(
            schema=1,
            exit_code=EXIT_FAILED if failed or not is_whole else EXIT_OK,
            action=action,
            models=tuple(models),
            kernels=kernels,
            failed=tuple(failed),
            notes=tuple(notes),
            cache_dir=str(cache_dir),
            log=str(self.log),
            seconds=round(time.monotonic() - self._begin, 3),
        )


@dataclass(frozen=True, kw_only=True)
class KernelsDocument:
    """`kernels compile --json` and `kernels rebuild --json`. failed, notes: one line each."""

    schema: int
    exit_code: int
    action: str
    models: tuple[dict[str, object], ...]
    kernels: int
    failed: tuple[str, ...]
    notes: tuple[str, ...]
    cache_dir: str
    log: str
    seconds: float


@contextmanager
def begin(home: Home) -> Iterator[KernelWork]:
    """Raises HostError where the home cannot be written."""
    from warmup.supervise.api import CancelWatch

    home.ensure()
    run_id = make_run_id()
    run_dir = home.make_run_dir(run_id)
    cancel = CancelWatch()
    cancel.open()
    err = Output(sys.stderr)
    try:
        with CountBar("kernels", err) as bar:
            yield KernelWork(run_dir, run_id, bar, err, time.monotonic(), cancel)
    finally:
        cancel.close()

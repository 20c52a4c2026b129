"""What every compilation of `kernels` shares: a run's folder, cancelling, progress, a summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from warmup.commands.session import Session
from warmup.report.output import Output, show
from warmup.report.terminal import CountBar
from warmup.report.text import get_count
from warmup.words.errors import EXIT_FAILED, EXIT_OK
from warmup.words.escape import get_printable

if TYPE_CHECKING:
    from warmup.kernels.pool import Outcome
    from warmup.supervise.cancel import CancelWatch


@dataclass(frozen=True)
class Work:
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

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._begin, 3)

    def check(self) -> None:
        """Raises Cancelled once a signal came or the parent died; else tells how far it is."""
        reason = self._cancel.find_reason()
        if reason is not None:
            raise reason
        self._bar.tick()

    def on_outcome(self, outcome: Outcome, done: int, total: int) -> None:
        """One more kernel has ended; a failure is a line of its own at once."""
        if outcome.error is not None:
            text = f"{outcome.job.name} failed: {outcome.error.splitlines()[0]}"
            self._err.line(get_printable(text))
        self._bar.advance(done, total)


@contextmanager
def begin(session: Session, what: str) -> Iterator[Work]:
    """Raises HostError where the home cannot be written."""
    from warmup.state.home import make_run_id
    from warmup.supervise.cancel import CancelWatch

    session.home.ensure()
    run_id = make_run_id()
    run_dir = session.home.make_run_dir(run_id)
    cancel = CancelWatch()
    cancel.open()
    err = Output(sys.stderr)
    try:
        with CountBar(what, err) as bar:
            yield Work(run_dir, run_id, bar, err, time.monotonic(), cancel)
    finally:
        cancel.close()


def conclude(
    action: str,
    *,
    kernels: int,
    failed: Sequence[str],
    notes: Sequence[str],
    models: Sequence[dict[str, object]],
    work: Work,
    cache_dir: Path,
    json_output: bool,
    is_whole: bool = True,
) -> int:
    """Print what was done. is_whole: whether everything that was asked for could be tried.

    Returns the exit status.
    """
    err = Output(sys.stderr)
    status = EXIT_FAILED if failed or not is_whole else EXIT_OK
    for note in notes:
        err.line(get_printable(note))
    document = {
        "schema": 1,
        "exit_code": status,
        "action": action,
        "models": list(models),
        "kernels": kernels,
        "failed": list(failed),
        "notes": list(notes),
        "cache_dir": str(cache_dir),
        "log": str(work.log),
        "seconds": work.seconds,
    }
    good = f"{kernels - len(failed)} of {get_count(kernels, 'kernel')}"
    lines = [f"{good} in {work.seconds:.1f} s, into {cache_dir}"]
    if failed:
        lines.append(f"{len(failed)} failed; log: {work.log}")
    show(document, lines, json_output=json_output)
    return status

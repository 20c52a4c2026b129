"""What is made of a home's runs: lines, a document, and a file for each kind of reader."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmup.report.events import Event
from warmup.report.history import History, read_history
from warmup.report.junit import make_junit
from warmup.report.otlp import make_otlp
from warmup.report.output import Output
from warmup.report.overview import list_lines, make_document
from warmup.report.page import make_page
from warmup.report.prometheus import make_prometheus
from warmup.report.reader import RecordBuilder
from warmup.report.record import RunRecord
from warmup.report.text import get_size
from warmup.report.trace import make_trace
from warmup.words.errors import HostError
from warmup.words.files import Folder
from warmup.words.output_file import write_output

# Kind, as its option is called → the name that `run --report DIR` gives it.
FILES = {
    "html": "report.html",
    "trace": "trace.json",
    "junit": "junit.xml",
    "prometheus": "metrics.prom",
    "otlp": "otlp.json",
}


@dataclass(frozen=True)
class Report:
    """The views of one history. environ: the caller's, for TRACEPARENT."""

    history: History
    environ: Mapping[str, str]

    @classmethod
    def read(
        cls,
        runs: Folder | None,
        named: Sequence[str] = (),
        *,
        home: Path,
        environ: Mapping[str, str],
        live: RunRecord | None = None,
    ) -> Report:
        """As `read_history` reads it. Raises UsageError, and HostError for an unreadable home."""
        try:
            return cls(read_history(runs, named, home=str(home), live=live), environ)
        except OSError as error:
            raise HostError(f"cannot list the runs in {home}", cause=error.strerror) from error

    def list_lines(self) -> Iterable[str]:
        return list_lines(self.history)

    def make_document(self, written: Mapping[str, Path]) -> dict[str, Any]:
        return make_document(self.history, {kind: str(path) for kind, path in written.items()})

    def write(self, paths: Mapping[str, Path], err: Output) -> None:
        """Write each kind of FILES at its path, whole or not at all, for others to read too.

        err: is told of each. Raises HostError with the first that fails.
        """
        for kind, path in paths.items():
            data = self._make(kind)
            try:
                write_output(path, data)
            except OSError as error:
                raise HostError(
                    f"cannot write {os.fspath(path)}",
                    cause=error.strerror,
                    hint="name a file in a folder that exists and can be written",
                ) from error
            err.line(f"{kind}: {path} ({get_size(len(data))})")

    def _make(self, kind: str) -> bytes:
        if kind == "html":
            return make_page(self.history).encode()
        if kind == "trace":
            return make_trace(self.history)
        if kind == "junit":
            return make_junit(self.history).encode()
        if kind == "prometheus":
            return make_prometheus(self.history).encode()
        return make_otlp(self.history, self.environ)


class LiveReport:
    """A `View` of the run that is going on; at its end `write` writes every file of FILES.

    folder: made where it is missing; HostError where it cannot be, before anything is launched.
    """

    def __init__(self, folder: Path, run_id: str, environ: Mapping[str, str]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(
                f"cannot make the report's folder {folder}", cause=error.strerror
            ) from error
        self._folder, self._environ = folder, environ
        self._builder = RecordBuilder(run_id)

    def __call__(self, event: Event) -> None:
        self._builder(event)

    def write(self, runs: Folder | None, home: Path, err: Output) -> None:
        """runs, home: as of `Report.read`. Raises HostError."""
        live = self._builder.finish()
        report = Report.read(runs, home=home, environ=self._environ, live=live)
        report.write({kind: self._folder / name for kind, name in FILES.items()}, err)

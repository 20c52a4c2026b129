"""What GitHub Actions reads: groups, annotations, masks, the step summary, outputs.

Workflow commands are lines; the runner reads them from stdout and stderr alike, in no set order
between the two. All of ours go to stderr, so stdout stays data, and so a server's log tail (also
on stderr) cannot slip out of the `::stop-commands::` that holds it. Escapes and limits:
actions/toolkit `packages/core/src/command.ts`; docs.github.com "Workflow commands".
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from warmup.report.console import Console
from warmup.report.document import ModelResult
from warmup.report.events import Event, Events, View
from warmup.report.output import Output, is_actions
from warmup.report.summary import RunSummary, write_outputs, write_step_summary
from warmup.words.escape import get_printable

MAX_ERRORS = 10  # annotations of a level that one step may show; the runner drops the others


def escape_data(text: str) -> str:
    """A workflow command's message."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """A workflow command's property, such as `title`."""
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")


class Actions:
    """A `View` around another one, whose lines it groups.

    inner: writes a model's progress, its log tail and its verdict (`warmup.report.console`).
    secret_values: masked by the runner from here on, before anything else is written.
    """

    def __init__(
        self,
        inner: View,
        err: Output,
        *,
        environ: Mapping[str, str],
        secret_values: Iterable[str] = (),
    ) -> None:
        self._inner = inner
        self._err = err
        self._environ = environ
        self._run: dict[str, Any] = {}  # of `run_started`
        self._results: list[ModelResult] = []
        self._in_group = False
        self._held: dict[str, list[Event]] | None = None
        self._mask(secret_values)

    def __call__(self, event: Event) -> None:
        """With several models at once, the events of one are held back until it is done: groups
        cannot be interleaved. Its start and its heartbeats are told at once, outside any group."""
        if event.kind == "run_started" and event.data.get("jobs") is not None:
            self._held = {}
        if self._held is None or event.model is None:
            self._take(event)
        elif event.result is not None:
            for held in self._held.pop(event.model, []):
                self._take(held)
            self._take(event)
        elif event.kind == "heartbeat":
            self._show(event)
        else:
            if event.kind == "model_started":
                self._err.line(f"{get_printable(event.model)} starting")
            self._held.setdefault(event.model, []).append(event)

    def _take(self, event: Event) -> None:
        if event.kind == "run_started":
            self._run = event.data
        elif event.kind == "model_started":
            self._open_group(event.model or "")
        elif event.result is not None:
            if not self._in_group:  # every model has one, also where nothing was launched for it
                self._open_group(event.result.name)
                self._err.line(f"nothing launched: {get_printable(event.result.reason)}")
            self.close()
        elif event.kind == "run_finished":
            self.close()
        self._show(event)
        if event.result is not None:
            self._results.append(event.result)
            # The last place is kept: what it must say is known when the run is over.
            if event.result.state == "failed" and len(self._failed) < MAX_ERRORS:
                self._annotate(event.result)
        elif event.kind == "run_finished":
            self._annotate_rest()
            self._write_files()

    def close(self) -> None:
        if self._in_group:
            self._in_group = False
            self._err.raw_line("::endgroup::")

    def _show(self, event: Event) -> None:
        if event.kind != "log_tail":
            self._inner(event)
            return
        token = os.urandom(16).hex()  # random: the log must not be able to name it
        self._err.raw_line(f"::stop-commands::{token}")
        try:
            self._inner(event)
        finally:
            self._err.raw_line(f"::{token}::")

    def _mask(self, values: Iterable[str]) -> None:
        try:
            is_file = stat.S_ISREG(os.fstat(self._err.stream.fileno()).st_mode)
        except OSError:
            is_file = False
        if is_file:  # `2> file`: no runner reads it, and the secret would lie there in the clear
            return
        for value in values:
            if value.strip():
                self._err.raw_line(f"::add-mask::{escape_data(value)}")

    def _open_group(self, name: str) -> None:
        self.close()
        self._in_group = True
        self._err.raw_line(f"::group::{escape_data(get_printable(name))}")

    @property
    def _failed(self) -> list[ModelResult]:
        return [result for result in self._results if result.state == "failed"]

    def _annotate_rest(self) -> None:
        rest = self._failed[MAX_ERRORS - 1 :]
        if len(rest) == 1:
            self._annotate(rest[0])
        elif rest:
            names = ", ".join(get_printable(result.name) for result in rest)
            self._error("more models failed", f"{len(rest)} more models failed: {names}")

    def _annotate(self, result: ModelResult) -> None:
        log = "" if result.log is None else f"\nlog: {result.log}"
        self._error(f"{get_printable(result.name)} failed", f"{result.reason}{log}")

    def _error(self, title: str, message: str) -> None:
        self._err.raw_line(f"::error title={escape_property(title)}::{escape_data(message)}")

    def _write_files(self) -> None:
        summary = RunSummary(
            run_id=str(self._run.get("run_id") or ""),
            version_key=str(self._run.get("version_key") or ""),
            results=tuple(self._results),
            price=self._run.get("price_per_gpu_hour") or 0.0,
            target=self._run.get("target") or "",
        )
        for variable, write in (
            ("GITHUB_STEP_SUMMARY", write_step_summary),
            ("GITHUB_OUTPUT", write_outputs),
        ):
            if path := self._environ.get(variable):
                try:
                    write(Path(path), summary)
                except OSError as error:  # which says nothing about a model
                    self._err.line(f"warning: {variable} not written: {error}")


def open_view(
    events: Events,
    out: Output,
    err: Output,
    *,
    environ: Mapping[str, str],
    json: bool,
    secret_values: Iterable[str],
) -> Callable[[], None]:
    """Attach what a person reads: `Console`, under GitHub Actions within its groups.

    json: whether stdout is one document's. Returns what takes the moving line away.
    """
    console = Console(out, err, environ=environ, json=json)
    if not is_actions(environ):
        events.subscribe(console)
        return console.close
    actions = Actions(console, err, environ=environ, secret_values=secret_values)
    events.subscribe(actions)

    def close() -> None:
        console.close()
        actions.close()

    return close

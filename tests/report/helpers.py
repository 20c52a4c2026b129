"""A run's events as `run` emits them, and the views that read them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from warmup.report.actions import Actions
from warmup.report.console import Console
from warmup.report.document import ModelResult
from warmup.report.events import Event, Events
from warmup.report.output import Output


def make_result(model: str = "org/toy", **changes: object) -> ModelResult:
    fields: dict[str, object] = {
        "model": model,
        "tp": 1,
        "engine": "command",
        "state": "warmed",
        "reason": "no marker",
        "seconds": 41.23,
    }
    return ModelResult(**(fields | changes))  # type: ignore[arg-type]


def emit_run(events: Events, results: Sequence[ModelResult], tail: Sequence[str] = ()) -> None:
    """Every event of a run with these results; `tail` is each launched model's log tail."""
    names = [result.name for result in results]
    events.emit("run_started", run_id="r1", models=names, version_key="vk1")
    for index, result in enumerate(results):
        if result.state != "warm":
            emit_launch(events, result, index + 1, len(results), tail)
        events.finish(result)
    failed = any(result.state == "failed" for result in results)
    events.emit("run_finished", exit_code=int(failed), seconds=100.04)


def emit_launch(
    events: Events, result: ModelResult, index: int, total: int, tail: Sequence[str]
) -> None:
    name, log = result.name, "/runs/r1/toy.log"
    events.emit(
        "model_started", name, index=index, total=total, engine="command", reason="cold", log=log
    )
    for phase in ("spawn", "ready", "request", "stop"):
        events.emit("phase", name, phase=phase, state="started")
        if phase == "ready":
            events.emit("heartbeat", name, phase=phase, seconds=120.4, last_line="Loading 50%")
        events.emit("phase", name, phase=phase, state="finished", seconds=1.5)
    events.emit("log_tail", name, path=log, lines=list(tail), cut=True)


class Screen:
    """Both streams of a run, in memory; `actions` as GitHub Actions would have it."""

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        json: bool = False,
        actions: bool = False,
        secret_values: Sequence[str] = (),
    ) -> None:
        self.environ = dict(environ or {})
        self._out, self._err = io.StringIO(), io.StringIO()
        out, err = Output(self._out, actions), Output(self._err, actions)
        self.console = Console(out, err, environ=self.environ, json=json)
        self.events = Events()
        if actions:
            view = Actions(self.console, err, environ=self.environ, secret_values=secret_values)
            self.events.subscribe(view)
        else:
            self.events.subscribe(self.console)

    @property
    def out(self) -> list[str]:
        return self._out.getvalue().splitlines()

    @property
    def err(self) -> list[str]:
        return self._err.getvalue().splitlines()


def collect(into: list[Event]) -> Events:
    events = Events()
    events.subscribe(into.append)
    return events

"""The view of a run that a person reads: progress on stderr, one verdict line per model.

Verdict lines are the run's data: they go to stdout, except with `--json`, where stdout holds the
one document alone and they go to stderr with all else. On a terminal a moving line shows the
phase; elsewhere plain lines do, with the heartbeat events (every 30 s) among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from warmup.report.document import ModelResult
from warmup.report.events import PROOF_PREFIX, Event
from warmup.report.output import Output
from warmup.report.terminal import JobLines, Spinner
from warmup.report.text import (
    get_column,
    get_count,
    get_entries,
    get_label,
    get_seconds,
    get_short_names,
    get_verdict,
    get_width,
)
from warmup.words.escape import get_printable

_COLORS = {
    "warm": "32",
    "warmed": "32",
    "seeded": "36",
    "failed": "31",
    "skipped": "33",
    "cold": "36",
}
_PHASES = {
    "lock": "waiting for another run",
    "spawn": "spawning",
    "ready": "waiting for ready",
    "request": "waiting for the answer",
    "ladder": "climbing the ladder",
    "stop": "stopping",
    "memory": "waiting for GPU memory",
    "kernels": "compiling kernels",
}


class Console:
    """A `View`. `close` takes the moving line away on every path out of a run."""

    def __init__(
        self, out: Output, err: Output, *, environ: Mapping[str, str], json: bool = False
    ) -> None:
        self._err = err
        self._verdicts = err if json else out
        self._has_color = can_color(self._verdicts, environ)
        self._spinner = Spinner(err.stream) if can_animate(err, environ) else None
        self._lines: JobLines | None = None  # in place of the spinner, with several models at once
        self._shorts: dict[str, str] = {}
        self._results: list[ModelResult] = []
        self._total = 0

    def __call__(self, event: Event) -> None:
        name = event.model or ""
        short = self._shorts.get(name) or get_printable(name)
        handler = getattr(self, f"_on_{event.kind}", None)
        is_moving = self._lines is not None and event.kind in ("phase", "heartbeat")
        if not is_moving:
            self._hide_lines()
        if event.result is not None:
            self._finish(short, event.result)
        elif handler is not None:  # a kind that a later version emits is for its own views
            handler(short, event.data)
        if self._lines is not None and event.kind != "run_finished":
            self._lines.show()

    def close(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
        self._hide_lines()

    def _hide_lines(self) -> None:
        if self._lines is not None:
            self._lines.hide()

    def _on_run_started(self, _: str, data: dict[str, Any]) -> None:
        names = data.get("models", [])
        self._shorts = get_short_names(names)
        self._total = len(names)
        if data.get("jobs") is not None and self._spinner is not None:
            self._lines = JobLines(self._err.stream)
        self._err.line(f"run {data.get('run_id', '')}: {get_count(self._total, 'model')}")

    def _on_model_started(self, short: str, data: dict[str, Any]) -> None:
        why = get_printable(str(data.get("reason") or ""))
        place = f"{data.get('index', '?')} of {data.get('total', '?')}"
        start = f"{short} starting {data.get('engine', '')}, {place}"
        self._err.line(start + (f" ({why})" if why else ""))
        if log := data.get("log"):
            self._err.line(f"{short} log: {get_printable(str(log))}")

    def _on_repaired(self, _: str, data: dict[str, Any]) -> None:
        from warmup.report.event_data import RepairData  # a warm run repairs nothing

        self._err.line(get_printable(str(msgspec.convert(data, RepairData))))

    def _on_phase(self, short: str, data: dict[str, Any]) -> None:
        phase = str(data.get("phase", ""))
        if self._lines is not None:
            if data.get("state") == "started":
                self._lines.update(short, _get_activity(phase))
        elif data.get("state") == "started":
            # The moving line has a thread: none may run while the server is being forked.
            if phase.removeprefix(PROOF_PREFIX) == "spawn":
                self.close()
            elif self._spinner is not None:
                done = len(self._results)
                self._spinner.show(short, _get_activity(phase), done, self._total)
        elif self._spinner is None:
            seconds = data.get("seconds")
            took = "" if seconds is None else f" {get_seconds(seconds)}"
            end = "failed" if data.get("state") == "failed" else "done"
            boot = "proof: " if phase.startswith(PROOF_PREFIX) else ""
            self._err.line(f"{short} {boot}{phase.removeprefix(PROOF_PREFIX)} {end}{took}")

    def _on_step(self, short: str, data: dict[str, Any]) -> None:
        """The first one is the phase `request`, which has a line of its own."""
        step, state = str(data.get("step", "")), data.get("state")
        if step.removeprefix(PROOF_PREFIX) == "first":
            return
        if self._spinner is not None and state == "answered":
            self._spinner.update(f"{_get_activity('ladder')}: {get_printable(step)}")
            return
        self.close()
        if state == "left_out":
            end = "left out: the time for requests is over"
        else:
            new = get_entries(data.get("new_entries", {}))
            took = get_seconds(data.get("seconds", 0.0))
            end = f"{'failed' if state == 'failed' else 'done'} {took}" + (
                f" ({new})" if new else ""
            )
        boot = "proof: " if step.startswith(PROOF_PREFIX) else ""
        self._err.line(
            f"{short} {boot}ladder {get_printable(step.removeprefix(PROOF_PREFIX))} {end}"
        )

    def _on_heartbeat(self, short: str, data: dict[str, Any]) -> None:
        phase = str(data.get("phase", ""))
        text = f"{_get_activity(phase)} {data.get('seconds', 0):.0f} s"
        if last := get_printable(str(data.get("last_line") or "").strip()):
            text += f", last line: {last}"
        if self._lines is not None:
            self._lines.update(short, text)
        elif self._spinner is not None:
            self._spinner.update(text)
        else:
            self._err.line(f"{short} {text}")

    def _on_log_tail(self, short: str, data: dict[str, Any]) -> None:
        self.close()
        lines = data.get("lines", [])
        extent = ("last " if data.get("cut") else "") + get_count(len(lines), "line")
        self._err.line(f"{short} log ({extent}): {get_printable(str(data.get('path', '')))}")
        for line in lines:
            self._err.line(f"  | {get_printable(line)}")

    def _finish(self, short: str, result: ModelResult) -> None:
        self.close()
        if self._lines is not None:
            self._lines.end(short)
        self._results.append(result)
        label = get_label(short, get_column(self._shorts.values()) or get_width(short))
        state, rest = result.state, get_verdict(result)[len(result.state) :]
        painted = f"\x1b[{_COLORS[state]}m{state}\x1b[0m" if self._has_color else state
        self._verdicts.line(f"{label} {painted}{rest}")

    def _on_warning(self, model: str, data: dict[str, Any]) -> None:
        self.close()
        text = get_printable(str(data.get("text", "")))
        about = f"{self._shorts.get(model, get_printable(model))}: " if model else ""
        self._err.line(f"warning: {about}{text}")

    def _on_run_finished(self, _: str, data: dict[str, Any]) -> None:
        self.close()
        states = [result.state for result in self._results]
        counts = ", ".join(f"{states.count(s)} {s}" for s in _COLORS if s in states)
        self._err.line(
            f"{get_count(self._total, 'model')}: {counts or 'none finished'}"
            f" in {get_seconds(data.get('seconds', 0.0))}"
        )


def can_animate(output: Output, environ: Mapping[str, str]) -> bool:
    """Whether a line may be redrawn there: a terminal that can move its cursor."""
    return output.is_terminal and environ.get("TERM", "dumb") not in ("", "dumb", "unknown")


def can_color(output: Output, environ: Mapping[str, str]) -> bool:
    """As `can_animate`, where NO_COLOR does not forbid it (no-color.org)."""
    return can_animate(output, environ) and not environ.get("NO_COLOR")


def _get_activity(phase: str) -> str:
    """`waiting for ready`, and `proof: waiting for ready` in the boot that proves."""
    name = phase.removeprefix(PROOF_PREFIX)
    return ("" if name == phase else "proof: ") + _PHASES.get(name, name)

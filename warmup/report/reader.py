"""From events to a `RunRecord`: the one reader of `events.jsonl`, and a view of a run that lives.

Lenient on purpose: a file may be cut in the middle, or be of a later version. What it cannot take
it counts, and goes on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from warmup.report.event_data import (
    CompiledData,
    EventLine,
    LogExcerpt,
    Outcome,
    PhaseData,
    RepairData,
    RunEnd,
    RunStart,
    Start,
    StepData,
    WarningData,
)
from warmup.report.events import Event
from warmup.report.record import Compiled, ModelRecord, RunRecord, Span, bound_seconds
from warmup.words.encoding import clean
from warmup.words.escape import get_printable

MAX_LISTED = 5000  # spans, steps, kernels, warnings kept of one model
_LAST_MOMENT = 4e9  # in the year 2096: later ones no calendar has to show

# What a trend needs.
BRIEF_KINDS = frozenset({"run_started", "model_finished", "run_finished"})
_IGNORED = frozenset({"heartbeat"})


# As `Events` begins each line; ten times faster than a parser where the rest does not matter.
_HEAD = re.compile(rb'\{"t":([0-9]+(?:\.[0-9]+)?),"kind":"([a-z_]{1,40})"')
_decode_line = msgspec.json.Decoder(EventLine).decode


class RecordBuilder:
    """Takes events one by one, as lines of a file (`read`) or as a `View`; `record` is the result.

    kinds: those that are looked at, None for all.
    """

    def __init__(self, run_id: str = "", kinds: Collection[str] | None = None) -> None:
        self.record = RunRecord(run_id)
        self._kinds = kinds

    def __call__(self, event: Event) -> None:
        data: Any = event.data if event.result is None else msgspec.to_builtins(event.result)
        self._add(event, lambda taker: msgspec.convert(data, taker.struct))

    def read(self, line: bytes) -> None:
        """One line of `events.jsonl`. One of a kind that is not looked at is not parsed."""
        if self._kinds is not None:
            head = _HEAD.match(line)
            if head is not None and head[2].decode() not in self._kinds:
                self._note_time(float(head[1]))
                return
        try:
            event = _decode_line(_mend(line) if b"\\ud" in line else line)
        except (ValueError, RecursionError):  # of msgspec, json and UTF-8
            self.record.num_unread += 1
            return
        self._add(event, lambda taker: taker.decoder.decode(event.data))

    def finish(self) -> RunRecord:
        """The record, with what was still going on ended at the last event."""
        for each in self.record.models.values():
            each.is_lost = each.outcome is None and self.record.exit_code is not None
            if each.begin is not None and each.end is None:
                each.end = self.record.end
            for number, span in enumerate(each.spans):
                if span.state == "started":
                    seconds = bound_seconds(self.record.end - span.begin)
                    each.spans[number] = Span(span.name, span.begin, seconds, "started")
        return self.record

    def _note_time(self, t: float) -> float:
        """The time, within what a calendar shows."""
        t = min(max(t, 0.0), _LAST_MOMENT)
        self.record.begin = min(self.record.begin, t) if self.record.begin else t
        self.record.end = max(self.record.end, t)
        return t

    def _add(self, event: Event | EventLine, take: Callable[[_Taker[Any]], Any]) -> None:
        t = self._note_time(event.t)
        record, kind = self.record, event.kind
        if (self._kinds is not None and kind not in self._kinds) or kind in _IGNORED:
            return
        taker = _TAKERS.get(kind)
        if taker is None:
            record.unknown[get_printable(kind)[:60]] += 1
            return
        try:
            data = take(taker)
        except (ValueError, RecursionError):
            record.num_unread += 1
            return
        if taker.is_models:
            name = event.model or ""
            taker.add(record.models.setdefault(name, ModelRecord(name)), t, data, record)
        else:
            taker.add(record, t, data, event.model)


def _mend(line: bytes) -> bytes:
    """The line with every surrogate that stands alone as text; `encode_json` writes it so where a
    file's name is not UTF-8, and msgspec takes none. Raises ValueError."""
    return msgspec.json.encode(clean(json.loads(line)))


def _start_run(record: RunRecord, _t: float, data: RunStart, _model: str | None) -> None:
    record.run_id = record.run_id or data.run_id
    record.version_key = data.version_key
    record.price = min(max(data.price_per_gpu_hour, 0.0), 1e6)
    record.target = data.target or ""
    record.models.update((name, ModelRecord(name)) for name in data.models)


def _finish_run(record: RunRecord, _t: float, data: RunEnd, _model: str | None) -> None:
    record.exit_code = data.exit_code


def _warn(record: RunRecord, _t: float, data: WarningData, model: str | None) -> None:
    known = record.models.get(model or "")
    warnings = record.warnings if known is None else known.warnings
    if len(warnings) < MAX_LISTED:
        warnings.append(data.text)


def _add_repair(record: RunRecord, _t: float, data: RepairData, _model: str | None) -> None:
    if len(record.repairs) < MAX_LISTED:
        record.repairs.append(data)


def _start_model(model: ModelRecord, t: float, data: Start, _run: RunRecord) -> None:
    model.begin, model.start = t, data


def _finish_model(model: ModelRecord, t: float, data: Outcome, run: RunRecord) -> None:
    model.end, model.outcome = t, data
    model.is_target = bool(run.target) or data.state == "seeded"


def _add_phase(model: ModelRecord, t: float, data: PhaseData, _run: RunRecord) -> None:
    spans = model.spans
    if data.state == "started":
        if len(spans) < MAX_LISTED:
            spans.append(Span(data.phase, t, 0.0, "started"))
        return
    seconds = bound_seconds(data.seconds or 0.0)
    for number in range(len(spans) - 1, -1, -1):
        if spans[number].name == data.phase and spans[number].state == "started":
            spans[number] = Span(data.phase, spans[number].begin, seconds, data.state)
            return
    if len(spans) < MAX_LISTED:
        spans.append(Span(data.phase, max(t - seconds, 0.0), seconds, data.state))


def _add_step(model: ModelRecord, t: float, data: StepData, _run: RunRecord) -> None:
    if len(model.steps) < MAX_LISTED:
        seconds = bound_seconds(data.seconds)
        begin = max(t - seconds, 0.0)
        model.steps.append(Span(data.step, begin, seconds, data.state, data.new_entries))


def _add_kernels(model: ModelRecord, t: float, data: CompiledData, run: RunRecord) -> None:
    """A file may keep the time of where it was copied from: none is before the run."""
    model.num_compiled[data.family] += len(data.kernels) + max(data.more, 0)
    for when, kernel in data.kernels[: MAX_LISTED - len(model.compiled)]:
        moment = t if when is None else min(max(when, model.begin or run.begin), t)
        model.compiled.append(Compiled(moment, data.family, kernel))


def _add_tail(model: ModelRecord, _t: float, data: LogExcerpt, _run: RunRecord) -> None:
    model.tail = data


_Data = TypeVar("_Data")


@dataclass(frozen=True)
class _Taker(Generic[_Data]):
    """How events of one kind are taken: the type of their data, and what adds it."""

    struct: type[_Data]
    add: Callable[[Any, float, Any, Any], None]
    is_models: bool
    decoder: msgspec.json.Decoder[_Data]


_TAKERS: dict[str, _Taker[Any]] = {
    kind: _Taker(struct, add, is_models, msgspec.json.Decoder(struct))
    for kind, struct, add, is_models in (
        ("run_started", RunStart, _start_run, False),
        ("run_finished", RunEnd, _finish_run, False),
        ("warning", WarningData, _warn, False),
        ("repaired", RepairData, _add_repair, False),
        ("model_started", Start, _start_model, True),
        ("model_finished", Outcome, _finish_model, True),
        ("phase", PhaseData, _add_phase, True),
        ("step", StepData, _add_step, True),
        ("compiled", CompiledData, _add_kernels, True),
        ("log_tail", LogExcerpt, _add_tail, True),
    )
}

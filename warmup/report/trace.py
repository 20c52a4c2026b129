"""`report --trace`: Chrome trace events, for ui.perfetto.dev and chrome://tracing.

"Trace Event Format" (docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU):
complete events (`X`) with `ts` and `dur` in microseconds, names of tracks as metadata (`M`),
instants (`i`). Perfetto drops an event that overlaps another one on its track, so each model has
a track for phases, one for the ladder's requests, and one for each family's compiled kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from warmup.report.history import History
from warmup.report.record import ModelRecord, Span
from warmup.words.encoding import encode_json
from warmup.words.escape import get_printable

_TRACKS = ("phases", "requests")


def make_trace(history: History) -> bytes:
    """The document; each run is a process, so that two of them stand below each other."""
    events: list[dict[str, Any]] = []
    begin = min((run.begin for run in history.runs), default=0.0)
    for pid, run in enumerate(history.runs, start=1):
        name = f"warmup-ci run {get_printable(run.run_id)}"
        events.append(_make_name("process_name", pid, 0, name))
        tid = 1
        for model in run.models.values():
            events += _iter_model(model, pid, tid, begin)
            tid += len(_TRACKS) + len(model.num_compiled)
    return encode_json({"traceEvents": events, "displayTimeUnit": "ms"})


def _iter_model(model: ModelRecord, pid: int, tid: int, begin: float) -> Iterator[dict[str, Any]]:
    name = get_printable(model.name)
    for offset, spans in enumerate((model.spans, model.steps)):
        if spans:
            label = f"{name} {_TRACKS[offset]}"
            yield _make_name("thread_name", pid, tid + offset, label)
            yield from _iter_spans(spans, pid, tid + offset, begin, _TRACKS[offset])
    tracks = {family: tid + 2 + number for number, family in enumerate(model.num_compiled)}
    for family, track in tracks.items():
        yield _make_name("thread_name", pid, track, f"{name} {get_printable(family)}")
    for kernel in model.compiled:
        yield {
            "ph": "i",
            "s": "t",  # an instant of this track
            "name": get_printable(kernel.kernel or kernel.family),
            "cat": get_printable(kernel.family),
            "pid": pid,
            "tid": tracks[kernel.family],
            "ts": _get_microseconds(kernel.t - begin),
        }


def _iter_spans(
    spans: Sequence[Span], pid: int, tid: int, begin: float, category: str
) -> Iterator[dict[str, Any]]:
    last_end = 0
    for span in sorted(spans, key=lambda each: each.begin):
        start = max(_get_microseconds(span.begin - begin), last_end)
        last_end = max(_get_microseconds(span.end - begin), start)
        args: dict[str, Any] = {"state": get_printable(span.state)}
        if span.new_entries:
            args["new_entries"] = span.new_entries
        yield {
            "ph": "X",
            "name": get_printable(span.name),
            "cat": category,
            "pid": pid,
            "tid": tid,
            "ts": start,
            "dur": last_end - start,
            "args": args,
        }


def _make_name(kind: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}


def _get_microseconds(seconds: float) -> int:
    return max(round(seconds * 1e6), 0)

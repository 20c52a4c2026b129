"""`report --otlp`: traces as OTLP/JSON, for any collector's `/v1/traces`.

opentelemetry.io/docs/specs/otlp "JSON Protobuf Encoding": ids as hex, 64-bit numbers as text,
names in lowerCamelCase. Attributes are the CI/CD conventions' (`cicd.pipeline.…`) where there is
one. With a TRACEPARENT (w3.org/TR/trace-context) the run is a child of the CI job's own span.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from warmup.report.history import History
from warmup.report.record import UNFINISHED, ModelRecord, RunRecord, Span
from warmup.version import __version__
from warmup.words.encoding import encode_json
from warmup.words.escape import get_printable

_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_OK, _ERROR = 1, 2  # Status.StatusCode
_INTERNAL = 1  # Span.SpanKind
# A model's state → `cicd.pipeline.task.run.result`
_RESULTS = {"failed": "failure", "skipped": "skip", UNFINISHED: "cancellation"}


def make_otlp(history: History, environ: Mapping[str, str]) -> bytes:
    """environ: the caller's, for TRACEPARENT."""
    parent = find_parent(environ.get("TRACEPARENT", ""))
    spans = [span for run in history.runs for span in _iter_run(run, parent)]
    scope = {"name": "warmup-ci", "version": __version__}
    about = {"service.name": "warmup-ci", "service.version": __version__}
    resource = {"attributes": _make_attributes(about)}
    scoped = [{"scope": scope, "spans": spans}]
    return encode_json({"resourceSpans": [{"resource": resource, "scopeSpans": scoped}]})


def find_parent(traceparent: str) -> tuple[str, str] | None:
    """Trace id and span id of a `traceparent`; None where it is not a valid one."""
    found = _PARENT.fullmatch(traceparent.strip())
    if found is None or (found[1] == "00" and found[5]):
        return None
    trace, span = found[2], found[3]
    return (trace, span) if trace.strip("0") and span.strip("0") else None


def _iter_run(run: RunRecord, parent: tuple[str, str] | None) -> Iterator[dict[str, Any]]:
    trace = parent[0] if parent else _make_id(16, run.run_id)
    root = _make_id(8, run.run_id, "run")
    is_good = run.exit_code == 0
    yield _make_span(
        trace,
        root,
        parent[1] if parent else "",
        "warmup-ci run",
        (run.begin, run.end),
        {
            "cicd.pipeline.name": "warmup-ci",
            "cicd.pipeline.run.id": run.run_id,
            "cicd.pipeline.result": "success" if is_good else "failure",
            "warmup_ci.version_key": run.version_key,
            "warmup_ci.gpu_hours": run.gpu_hours,
        },
        None if is_good else f"exit status {run.exit_code}",
    )
    for number, model in enumerate(run.models.values()):
        if model.begin is not None:
            yield from _iter_model(model, run, trace, root, str(number))


def _iter_model(
    model: ModelRecord, run: RunRecord, trace: str, root: str, number: str
) -> Iterator[dict[str, Any]]:
    own = _make_id(8, run.run_id, number)
    begin = model.begin or run.begin
    yield _make_span(
        trace,
        own,
        root,
        f"warm {model.name}",
        (begin, max(model.end or begin, begin)),
        {
            "cicd.pipeline.task.name": model.name,
            "cicd.pipeline.task.run.id": f"{run.run_id}/{number}",
            "cicd.pipeline.task.run.result": _RESULTS.get(model.state, "success"),
            "warmup_ci.state": model.state,
            "warmup_ci.reason": model.reason,
            "warmup_ci.engine": model.engine,
            "warmup_ci.tp": model.tp,
            **{f"warmup_ci.new_entries.{name}": n for name, n in model.new_entries.items()},
        },
        model.reason if model.is_trouble else None,
    )
    for kind, spans in (("phase", model.spans), ("step", model.steps)):
        for index, span in enumerate(spans):
            made = _make_id(8, run.run_id, number, kind, str(index))
            yield _make_phase(trace, made, own, span)


def _make_phase(trace: str, own: str, parent: str, span: Span) -> dict[str, Any]:
    attributes: dict[str, Any] = {"warmup_ci.phase.state": span.state}
    attributes |= {f"warmup_ci.new_entries.{name}": n for name, n in span.new_entries.items()}
    failed = span.state if span.state in ("failed", "started") else None
    return _make_span(trace, own, parent, span.name, (span.begin, span.end), attributes, failed)


def _make_span(
    trace: str,
    own: str,
    parent: str,
    name: str,
    times: tuple[float, float],
    attributes: Mapping[str, object],
    error: str | None,
) -> dict[str, Any]:
    status = {"code": _OK} if error is None else {"code": _ERROR, "message": get_printable(error)}
    return {
        "traceId": trace,
        "spanId": own,
        "parentSpanId": parent,
        "name": get_printable(name),
        "kind": _INTERNAL,
        "startTimeUnixNano": str(round(times[0] * 1e9)),
        "endTimeUnixNano": str(round(times[1] * 1e9)),
        "attributes": _make_attributes(attributes),
        "status": status,
    }


def _make_attributes(values: Mapping[str, object]) -> list[dict[str, Any]]:
    return [{"key": get_printable(key), "value": _make_value(v)} for key, v in values.items()]


def _make_value(value: object) -> dict[str, Any]:
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": get_printable(str(value))}


def _make_id(size: int, *parts: str) -> str:
    """So many bytes in hex, the same for the same run: a report made twice is one trace."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[
        : 2 * size
    ]

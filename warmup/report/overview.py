"""`report` on a terminal: the newest run's table, a line for each before it; and `--json`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from warmup.report.history import History
from warmup.report.page import list_gaps
from warmup.report.record import ModelRecord, RunBrief, RunRecord
from warmup.report.summary import HEAD, get_cells
from warmup.report.text import (
    clip,
    get_bill,
    get_count,
    get_duration,
    get_hours,
    get_moment,
    get_width,
)

SCHEMA = 1
_MAX_RUNS = 10
_MAX_CELL = 60


def list_lines(history: History) -> Iterator[str]:
    if history.newest is None:
        yield f"no run is recorded in {history.home or 'this home'}"
    yield from (f"note: run {told}" for told in history.unread[:_MAX_RUNS])
    for run in history.runs:
        yield from _list_run(run)
    before = [run for run in history.briefs if run.run_id not in {r.run_id for r in history.runs}]
    if before:
        yield from _list_runs(before)


def make_document(history: History, written: dict[str, str]) -> dict[str, Any]:
    """`report --json`. written: the files that were asked for, by kind."""
    return {
        "schema": SCHEMA,
        "exit_code": 0,
        "home": history.home,
        "written": written,
        "runs": [
            {
                **_make_brief(run.brief),
                "version_key": run.version_key,
                "notes": [*list_gaps(run)],
                "models": [_make_model(model) for model in run.models.values()],
            }
            for run in history.runs
        ],
        "history": [_make_brief(run) for run in history.briefs],
    }


def _list_run(run: RunRecord) -> Iterator[str]:
    yield f"run {run.run_id}: {get_moment(run.begin)}, {get_duration(run.seconds)}, {run.ending}"
    yield from (f"  note: {gap}" for gap in (*list_gaps(run), *run.repairs[:_MAX_RUNS]))
    rows = [
        [clip(cell, _MAX_CELL) for cell in get_cells(each)[:-1]] for each in run.models.values()
    ]
    table = [list(HEAD[:-1]), *rows]
    widths = [max(get_width(row[i]) for row in table) for i in range(len(HEAD) - 1)]
    reasons = [HEAD[-1], *(each.reason for each in run.models.values())]
    for row, reason in zip(table, reasons, strict=True):
        cells = [
            cell + " " * (width - get_width(cell)) for cell, width in zip(row, widths, strict=True)
        ]
        yield f"  {'  '.join([*cells, reason])}".rstrip()
    yield f"  {get_bill(run.gpu_hours, run.gpu_hours_saved, run.price)}"


def _list_runs(briefs: Sequence[RunBrief]) -> Iterator[str]:
    hours = sum(run.gpu_hours for run in briefs)
    yield f"{get_count(len(briefs), 'other run')}, {get_hours(hours)} GPU-hours; the newest:"
    for run in reversed(briefs[-_MAX_RUNS:]):
        yield (
            f"  {run.run_id}  {get_moment(run.begin)}  {get_duration(run.seconds):>10}"
            f"  {run.verdict}  {get_count(len(run.models), 'model')}"
        )


def _make_model(model: ModelRecord) -> dict[str, Any]:
    return {
        "model": model.name,
        "tp": model.tp,
        "engine": model.engine,
        "state": model.state,
        "reason": model.reason,
        "why_cold": model.was_cold_for or None,
        "seconds": model.seconds,
        "phases": [[span.name, round(span.seconds, 3), span.state] for span in model.spans],
        "steps": [[step.name, round(step.seconds, 3), step.state] for step in model.steps],
        "num_compiled": sum(model.num_compiled.values()),
        "new_entries": model.new_entries,
        "trouble": model.trouble,
        "gpu_hours": model.gpu_hours,
    }


def _make_brief(run: RunBrief) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "begin": run.begin,
        "seconds": run.seconds,
        "exit_code": run.exit_code,
        "verdict": run.verdict,
        "states": {name: state for name, (state, _) in run.models.items()},
        "gpu_hours": run.gpu_hours,
        "gpu_hours_saved": run.gpu_hours_saved,
        "cost": run.cost,
    }

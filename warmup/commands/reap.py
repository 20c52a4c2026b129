"""`warmup-ci reap`: end what earlier runs left behind: ours alone, never by name."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from warmup.report.output import DataOutput, Output
from warmup.supervise.tree import reap as supervise_reap
from warmup.words.errors import EXIT_FAILED, EXIT_OK
from warmup.words.escape import get_printable


def reap(home: Path, *, json_output: bool) -> int:
    """Print what was ended; 0 when nothing is left, 1 for survivors and unreadable ledgers.

    home: WARMUP_CI_HOME; need not exist.
    """
    report = supervise_reap.reap(home, _warn)
    exit_code = EXIT_FAILED if report.has_findings else EXIT_OK
    text = _render_json(report, exit_code) if json_output else _render_lines(report)
    DataOutput(sys.stdout).line(text)
    return exit_code


def _warn(text: str) -> None:
    Output(sys.stderr).line(f"warning: {get_printable(text)}")


def _render_json(report: supervise_reap.ReapReport, exit_code: int) -> str:
    document = {
        "schema": 1,
        "runs": [
            {"run_id": run.run_id, "state": run.state, "detail": run.detail} for run in report.runs
        ],
        "ended": [
            {"pid": pid, "command": command, "run_id": run.run_id}
            for run in report.runs
            for pid, command in run.killed
        ],
        "exit_code": exit_code,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _render_lines(report: supervise_reap.ReapReport) -> str:
    lines = [
        f"ended pid {pid} ({command}) of run {run.run_id}"
        for run in report.runs
        for pid, command in run.killed
    ]
    left = [run for run in report.runs if run.state in ("survivors", "unreadable", "elsewhere")]
    lines += [f"run {run.run_id}: {run.state}: {run.detail}" for run in left]
    if not lines:
        lines = ["nothing was left behind"]
    return "\n".join(get_printable(line) for line in lines)

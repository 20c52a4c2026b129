"""`warmup-ci reap`: end what earlier runs left behind: ours alone, never by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from warmup.commands.session import Session
from warmup.report.api import Output, show
from warmup.supervise.api import ReapReport, reap_runs
from warmup.words.errors import EXIT_FAILED, EXIT_OK
from warmup.words.escape import get_printable
from warmup.words.secrets import Redactor


def reap(session: Session, *, json_output: bool = False) -> int:
    """Print what was ended; 0 when nothing is left, 1 for survivors and unreadable ledgers.

    Raises HostError for a home that is not safe to use.
    """
    runs = session.home.find_folder("runs")  # refuses what another user could have forged
    report = ReapReport(()) if runs is None else reap_runs(runs, _warn)
    exit_code = EXIT_FAILED if report.has_findings else EXIT_OK
    show(_make_document(report, exit_code), _render(report), json_output=json_output)
    return exit_code


def _warn(text: str) -> None:
    Output(sys.stderr).line(f"warning: {get_printable(text)}")


def _make_document(report: ReapReport, exit_code: int) -> dict[str, object]:
    return {
        "schema": 1,
        "runs": [
            {
                "run_id": run.run_id,
                "state": run.state,
                "detail": run.detail,
                "survivors": list(run.survivors),
            }
            for run in report.runs
        ],
        "ended": [
            {"pid": pid, "command": _redact(command), "run_id": run.run_id}
            for run in report.runs
            for pid, command in run.killed
        ],
        "exit_code": exit_code,
    }


def _render(report: ReapReport) -> Iterator[str]:
    for run in report.runs:
        for pid, command in run.killed:
            yield f"ended pid {pid} ({_redact(command)}) of run {run.run_id}"
    told = ("survivors", "unreadable", "elsewhere", "foreign")
    left = [run for run in report.runs if run.state in told]
    for run in left:
        yield f"run {run.run_id}: {run.state}: {run.detail}"
    if not left and not any(run.killed for run in report.runs):
        yield "nothing was left behind"


def _redact(command: str) -> str:
    return " ".join(Redactor().redact_argv(command.split(" ")))

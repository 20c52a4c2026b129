"""What is told: events, the console, GitHub Actions, documents, SARIF.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from warmup.report.actions import open_view
from warmup.report.document import (
    ErrorDocument,
    ModelResult,
    RunDocument,
    State,
    StepResult,
    StepState,
)
from warmup.report.events import PROOF_PREFIX, Event, Events, tell_compiled
from warmup.report.output import Output, flush_standard_streams, is_actions, show
from warmup.report.sarif import SarifResult, SarifRule, make_sarif
from warmup.report.summary import get_output
from warmup.report.terminal import CountBar
from warmup.report.text import (
    get_column,
    get_count,
    get_label,
    get_short_name,
    get_short_names,
    get_size,
)

if TYPE_CHECKING:
    from warmup.report.views import LiveReport as LiveReport
    from warmup.report.views import Report as Report
    from warmup.words.files import Folder


def read_report(
    runs: Folder | None, named: Sequence[str], *, home: Path, environ: Mapping[str, str]
) -> Report:
    """`Report.read`; its views are loaded only now, since a warm run writes none."""
    from warmup.report.views import Report

    return Report.read(runs, named, home=home, environ=environ)


def open_live_report(folder: Path, run_id: str, environ: Mapping[str, str]) -> LiveReport:
    """A `LiveReport`, loaded only now."""
    from warmup.report.views import LiveReport

    return LiveReport(folder, run_id, environ)


__all__ = [
    "PROOF_PREFIX",
    "CountBar",
    "ErrorDocument",
    "Event",
    "Events",
    "ModelResult",
    "Output",
    "RunDocument",
    "SarifResult",
    "SarifRule",
    "State",
    "StepResult",
    "StepState",
    "flush_standard_streams",
    "get_column",
    "get_count",
    "get_label",
    "get_output",
    "get_short_name",
    "get_short_names",
    "get_size",
    "is_actions",
    "make_sarif",
    "open_live_report",
    "open_view",
    "read_report",
    "show",
    "tell_compiled",
]

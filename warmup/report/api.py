"""What is told: events, the console, GitHub Actions, documents, SARIF.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmup.words.lazy import load_lazily

if TYPE_CHECKING:
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
    from warmup.report.output import (
        DataOutput,
        Output,
        flush_standard_streams,
        is_actions,
        show,
    )
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
    from warmup.report.views import LiveReport, Report

__all__ = [
    "PROOF_PREFIX",
    "CountBar",
    "DataOutput",
    "ErrorDocument",
    "Event",
    "Events",
    "LiveReport",
    "ModelResult",
    "Output",
    "Report",
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
    "open_view",
    "show",
    "tell_compiled",
]

if not TYPE_CHECKING:
    __getattr__ = load_lazily(
        __name__,
        {
            "actions": "open_view",
            "document": "ErrorDocument ModelResult RunDocument State StepResult StepState",
            "events": "PROOF_PREFIX Event Events tell_compiled",
            "output": "DataOutput Output flush_standard_streams is_actions show",
            "sarif": "SarifResult SarifRule make_sarif",
            "summary": "get_output",
            "terminal": "CountBar",
            "text": "get_column get_count get_label get_short_name get_short_names get_size",
            "views": "LiveReport Report",
        },
    )

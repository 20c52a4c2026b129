"""What is told: events, the console, GitHub Actions, documents, SARIF.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from warmup.report.actions import Actions
from warmup.report.console import Console
from warmup.report.document import (
    ErrorDocument,
    ModelResult,
    RunDocument,
    State,
    StepResult,
    StepState,
)
from warmup.report.events import PROOF_PREFIX, Events
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

__all__ = [
    "PROOF_PREFIX",
    "Actions",
    "Console",
    "CountBar",
    "ErrorDocument",
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
    "show",
]

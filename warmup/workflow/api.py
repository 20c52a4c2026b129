"""What is to be warmed: workflow files, model specs, selection, settings, verdicts.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from warmup.workflow.gpus import assign, get_visible
from warmup.workflow.selection import Resolved, Selection, load
from warmup.workflow.settings import FIELDS, Settings
from warmup.workflow.verdict import NOT_PROVEN, get_reason, is_done, make_unlaunched

__all__ = [
    "FIELDS",
    "NOT_PROVEN",
    "Resolved",
    "Selection",
    "Settings",
    "assign",
    "get_reason",
    "get_visible",
    "is_done",
    "load",
    "make_unlaunched",
]

"""What is to be warmed: workflow files, model specs, selection, settings, verdicts.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from warmup.workflow.gpus import assign, get_visible
from warmup.workflow.selection import Resolved, Selection, load
from warmup.workflow.settings import FIELDS, Settings
from warmup.workflow.shards import (
    Matrix,
    find_recorded,
    make_matrix,
    parse_runner,
    pin_seconds,
    split,
)
from warmup.workflow.verdict import NOT_PROVEN, get_reason, is_done, make_unlaunched

__all__ = [
    "FIELDS",
    "NOT_PROVEN",
    "Matrix",
    "Resolved",
    "Selection",
    "Settings",
    "assign",
    "find_recorded",
    "get_reason",
    "get_visible",
    "is_done",
    "load",
    "make_matrix",
    "make_unlaunched",
    "parse_runner",
    "pin_seconds",
    "split",
]

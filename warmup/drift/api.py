"""The launches in a test tree, held against the workflow.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from warmup.drift.compare import DriftDocument, judge
from warmup.drift.scan import find_launches

__all__ = [
    "DriftDocument",
    "find_launches",
    "judge",
]

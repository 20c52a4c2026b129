"""Signed cache packs: format, where they are kept, signatures, policy.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from warmup.packs.policy import Policy
from warmup.packs.store import Reference, parse_reference

__all__ = [
    "Policy",
    "Reference",
    "parse_reference",
]

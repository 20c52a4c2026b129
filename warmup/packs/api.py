"""Signed cache packs: format, where they are kept, signatures, policy, push, pull and verify.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from warmup.packs.image import NoPack
from warmup.packs.policy import Policy, read_policy
from warmup.packs.pull import Pull, PullDocument
from warmup.packs.push import Push, PushDocument
from warmup.packs.sign import parse_signing
from warmup.packs.store import Reference, check_place, open_store, parse_reference
from warmup.packs.trust import Trust
from warmup.packs.verify import VerifyDocument, verify

__all__ = [
    "NoPack",
    "Policy",
    "Pull",
    "PullDocument",
    "Push",
    "PushDocument",
    "Reference",
    "Trust",
    "VerifyDocument",
    "check_place",
    "open_store",
    "parse_reference",
    "parse_signing",
    "read_policy",
    "verify",
]

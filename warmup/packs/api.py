"""Signed cache packs: format, where they are kept, signatures, policy, push, pull and verify.

The face of this room: other rooms import it alone. Each name is loaded when it is asked for: a pull
that finds nothing new is over soon, and needs few of these files.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warmup.packs.blobs import collect_parts
    from warmup.packs.merge import open_packs
    from warmup.packs.policy import Policy, read_policy
    from warmup.packs.pull import Pull
    from warmup.packs.pulled import NoPack, PullDocument
    from warmup.packs.push import Push, PushDocument
    from warmup.packs.sign import parse_signing
    from warmup.packs.store import Reference, check_place, open_source, open_store, parse_reference
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
    "collect_parts",
    "open_packs",
    "open_source",
    "open_store",
    "parse_reference",
    "parse_signing",
    "read_policy",
    "verify",
]

_PLACES = {
    "NoPack": "pulled",
    "Policy": "policy",
    "Pull": "pull",
    "PullDocument": "pulled",
    "Push": "push",
    "PushDocument": "push",
    "Reference": "store",
    "Trust": "trust",
    "VerifyDocument": "verify",
    "check_place": "store",
    "collect_parts": "blobs",
    "open_packs": "merge",
    "open_source": "store",
    "open_store": "store",
    "parse_reference": "store",
    "parse_signing": "sign",
    "read_policy": "policy",
    "verify": "verify",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"warmup.packs.{_PLACES[name]}"), name)

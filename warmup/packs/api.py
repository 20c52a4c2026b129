"""Signed cache packs: format, where they are kept, signatures, policy, push, pull and verify.

The face of this room: other rooms import it alone. Each name is loaded when it is asked for: a pull
that finds nothing new is over soon, and needs few of these files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmup.words.lazy import load_lazily

if TYPE_CHECKING:
    from warmup.packs.blobs import collect_parts
    from warmup.packs.merge import open_packs
    from warmup.packs.policy import Policy, read_policy
    from warmup.packs.pull import Pull
    from warmup.packs.pull_document import NoPack, PullDocument
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

if not TYPE_CHECKING:
    __getattr__ = load_lazily(
        __name__,
        {
            "blobs": "collect_parts",
            "merge": "open_packs",
            "policy": "Policy read_policy",
            "pull": "Pull",
            "pull_document": "NoPack PullDocument",
            "push": "Push PushDocument",
            "sign": "parse_signing",
            "store": "Reference check_place open_source open_store parse_reference",
            "trust": "Trust",
            "verify": "VerifyDocument verify",
        },
    )

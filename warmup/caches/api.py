"""JIT caches: families, walking, manifests, verifying, hazards and their repairs.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from warmup.caches.compile_lines import FoundCompile, get_log_variables, list_compiled
from warmup.caches.families.triton import GROUP_PREFIX
from warmup.caches.family_table import get_family, get_variables, list_families
from warmup.caches.hashing import hash_file
from warmup.caches.hazards.deep_gemm import INCLUDE_PATH
from warmup.caches.hazards.rule import Facts, Finding
from warmup.caches.hazards.rules import RULES, find_hazards, get_rule
from warmup.caches.hazards.triton_group import make_group, rewrite_group
from warmup.caches.libraries import Libraries
from warmup.caches.logs import find_said, mark_logs
from warmup.caches.manifest import FamilySummary, find_new, make_manifest, summaries
from warmup.caches.mark import find_new_after, make_mark
from warmup.caches.records import (
    MAX_BYTES,
    NO_CONTENT,
    EntryRecord,
    FileRecord,
    Manifest,
    RootRecord,
    decode,
    encode,
    get_bound_mtime,
)
from warmup.caches.remove import remove_inside, set_aside
from warmup.caches.tuning import Tuning, find_new_tuning, part_tuning, remove_tuning
from warmup.caches.unread import mark_unread
from warmup.caches.verify import Mismatch, find_mismatch, verify_deep
from warmup.caches.walk import File, Snapshot, take_snapshot, walk_root

__all__ = [
    "GROUP_PREFIX",
    "INCLUDE_PATH",
    "MAX_BYTES",
    "NO_CONTENT",
    "RULES",
    "EntryRecord",
    "Facts",
    "FamilySummary",
    "File",
    "FileRecord",
    "Finding",
    "FoundCompile",
    "Libraries",
    "Manifest",
    "Mismatch",
    "RootRecord",
    "Snapshot",
    "Tuning",
    "decode",
    "encode",
    "find_hazards",
    "find_mismatch",
    "find_new",
    "find_new_after",
    "find_new_tuning",
    "find_said",
    "get_bound_mtime",
    "get_family",
    "get_log_variables",
    "get_rule",
    "get_variables",
    "hash_file",
    "list_compiled",
    "list_families",
    "make_group",
    "make_manifest",
    "make_mark",
    "mark_logs",
    "mark_unread",
    "part_tuning",
    "remove_inside",
    "remove_tuning",
    "rewrite_group",
    "set_aside",
    "summaries",
    "take_snapshot",
    "verify_deep",
    "walk_root",
]

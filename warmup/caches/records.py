"""A manifest as data and as JSON. What is read back is treated as hostile."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from warmup.caches.collector import paused_collector
from warmup.caches.family import Family
from warmup.words.errors import IntegrityError
from warmup.words.names import FAMILY_NAMES

SCHEMA = 1
MAX_BYTES = 1 << 30
NO_MTIME = -1  # of a file whose mtime every hit moves (`Family.touched`)
NO_CONTENT = -2  # of a file whose content changes with use, too (`Family.is_store`)

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
# By its length alone: a pattern costs as much as the rest of reading a manifest, and what is not
# hexadecimal is never a file's digest.
Digest = Annotated[str, msgspec.Meta(min_length=64, max_length=64)]


class FileRecord(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """name: relative to the entry, "" where the file is the entry. mtime: whole seconds, or what
    stands for none. size, sha256: as they were; with `NO_CONTENT` they bind nothing."""

    name: str
    size: Count
    mtime: int
    sha256: Digest


def get_bound_mtime(family: Family, name: str, mtime_ns: int) -> int:
    """The `mtime` of a `FileRecord`. name: the file's, relative to its entry."""
    if family.is_store(name):
        return NO_CONTENT
    return NO_MTIME if family.is_touched(name) else mtime_ns // 10**9


class EntryRecord(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """path: relative to the root. added: made, or made anew, by this warm-up."""

    path: str
    kernel: str
    added: bool
    files: list[FileRecord]


class RootRecord(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    root: str
    entries: list[EntryRecord]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """families: name → its roots, in the family's order, empty ones too.

    basis: "read" where entries of earlier version vectors are left out unless this warm-up read
    them, "present" where everything that lay there is listed. Names are as `names.to_text`.
    """

    families: dict[str, list[RootRecord]]
    basis: Literal["read", "present"] = "present"
    schema: int = SCHEMA


def encode(manifest: Manifest) -> bytes:
    """JSON, readable by `decode` and by people."""
    return msgspec.json.encode(manifest) + b"\n"


def decode(data: bytes) -> Manifest:
    """The manifest in `data`. Raises IntegrityError for anything that `encode` cannot have made:
    truncated or foreign JSON, another schema, paths that are absolute or lead out of their root.
    """
    if len(data) > MAX_BYTES:
        raise IntegrityError("manifest refused", cause=f"{len(data)} bytes, more than {MAX_BYTES}")
    try:
        with paused_collector():
            manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise IntegrityError("manifest unreadable", cause=str(error)) from None
    if manifest.schema != SCHEMA:
        raise IntegrityError("manifest refused", cause=f"schema {manifest.schema}, not {SCHEMA}")
    for name, roots in manifest.families.items():
        if name not in FAMILY_NAMES:
            raise IntegrityError("manifest refused", cause=f"unknown family {name!r}")
        for root in roots:
            _check_root(root)
    return manifest


def _check_root(record: RootRecord) -> None:
    if not record.root.startswith("/") or "\0" in record.root:
        raise IntegrityError("manifest refused", cause=f"root {record.root!r} is not absolute")
    for entry in record.entries:
        if not _is_inside(entry.path):
            raise IntegrityError("manifest refused", cause=f"{entry.path!r} leads outside its root")
    # Few, of many files.
    for name in {file.name for entry in record.entries for file in entry.files}:
        if name and not _is_inside(name):
            raise IntegrityError("manifest refused", cause=f"{name!r} leads outside")


def _is_inside(path: str) -> bool:
    """Whether a relative path stays below where it starts, by its letters alone."""
    if not path or path[0] == "/" or "\0" in path:
        return False
    return ".." not in path or ".." not in path.split("/")

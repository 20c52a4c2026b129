"""The cache manifest: the entries that one warm-up left, bound to their sizes, times and contents.

A marker is trusted only while its manifest stands (`find_mismatch`, a stat of each file; whole
seconds, because archives such as actions/cache's tar keep no more). Contents are looked at by
`verify_deep`. Manifests are read as hostile: nothing in one leads outside its roots.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from warmup.caches.family import Family
from warmup.caches.family_table import get_family
from warmup.caches.hashing import hash_file, map_threads
from warmup.caches.records import (
    EntryRecord,
    FileRecord,
    Manifest,
    RootRecord,
    get_bound_mtime,
)
from warmup.caches.walk import File, RootSnapshot, Snapshot
from warmup.words.escape import from_text, to_text
from warmup.words.tree import Tree

_EMPTY: frozenset[str] = frozenset()


class NewEntry(msgspec.Struct, frozen=True):
    """An entry made or changed. t: seconds since the epoch, of its newest file."""

    entry: str
    kernel: str
    t: float


class FamilySummary(msgspec.Struct, frozen=True):
    """A family's part of a marker. digest: sha256 over every listed path, size and content."""

    root: str
    entries: int
    bytes: int
    digest: str


def find_new(before: Snapshot, after: Snapshot) -> dict[str, list[NewEntry]]:
    """Entries of `after` that `before` lacks or holds otherwise; families without any are left out.

    Same order of families as `after`, oldest entry first.
    """
    found: dict[str, list[NewEntry]] = {}
    for name, roots in after.families.items():
        family = get_family(name)
        known = {root.root: root.entries for root in before.families.get(name, [])}
        new = []
        for root in roots:
            old = known.get(root.root, {})
            for entry, files in root.entries.items():
                if _is_new(old.get(entry), files, family):
                    names = [file.name for file in files]
                    kernel = family.get_kernel(Path(root.root), entry, names)
                    t = max(file.mtime_ns for file in files) / 1e9
                    new.append(NewEntry(to_text(entry), to_text(kernel), t))
        if new:
            found[name] = sorted(new, key=lambda one: (one.t, one.entry))
    return found


def _is_new(old: list[File] | None, files: list[File], family: Family) -> bool:
    """Whether a file was added or rewritten; one that only went away makes nothing new."""
    if old is None:
        return True
    known = {file.name: file for file in old}
    for file in files:
        was = known.get(file.name)
        if was is None or was.size != file.size:
            return True
        if was.mtime_ns != file.mtime_ns and not family.is_touched(file.name):
            return True
    return False


def make_manifest(
    before: Snapshot, after: Snapshot, *, stale: Mapping[str, frozenset[str]] | None = None
) -> Manifest:
    """Bind what lies there after a warm-up; hashes every file that it lists.

    stale: family → entries (as in a manifest) that only warm-ups under other version vectors
    made. They are left out where `before` is marked and this warm-up did not read them; listing
    them would make their later removal look like damage. Files that vanish meanwhile are left out.
    """
    families, is_read_known = {}, bool(stale)
    for name, roots in after.families.items():
        old = {root.root: root for root in before.families.get(name, [])}
        unwanted = (stale or {}).get(name, _EMPTY)
        records = []
        for root in roots:
            was = old.get(root.root) or RootSnapshot(root.root, {})
            if was.entries and not was.is_marked:
                is_read_known &= not unwanted
            records.append(_make_root(name, was, root, unwanted if was.is_marked else _EMPTY))
        families[name] = records
    return Manifest(families, "read" if is_read_known else "present")


def _make_root(
    name: str, was: RootSnapshot, root: RootSnapshot, unwanted: frozenset[str]
) -> RootRecord:
    family = get_family(name)

    def record(items: list[tuple[str, list[File]]]) -> list[EntryRecord]:
        with Tree(root.root) as tree:
            made = [record_entry(tree, *item) for item in items]
        return [entry for entry in made if entry is not None]

    def record_entry(tree: Tree, entry: str, files: list[File]) -> EntryRecord | None:
        path = to_text(entry)
        added = _is_new(was.entries.get(entry), files, family)
        if not added and path in unwanted and all(file.atime_ns == 0 for file in files):
            return None
        kernel = family.get_kernel(Path(root.root), entry, [file.name for file in files])
        records = [r for f in files if (r := _record_file(tree, entry, f, family))]
        return EntryRecord(path, to_text(kernel), added, records) if records else None

    try:
        records = list(map_threads(record, sorted(root.entries.items())))
    except FileNotFoundError:  # the whole root went away meanwhile
        records = []
    return RootRecord(to_text(root.root), records)


def _record_file(tree: Tree, entry: str, file: File, family: Family) -> FileRecord | None:
    try:
        dir_fd, name = tree.locate(f"{entry}/{file.name}".rstrip("/"))
        digest = hash_file(name, dir_fd=dir_fd)
    except OSError:
        return None
    mtime = get_bound_mtime(family, file.name, file.mtime_ns)
    return FileRecord(to_text(file.name), file.size, mtime, digest)


def summaries(manifest: Manifest) -> dict[str, FamilySummary]:
    """What the marker says of each family; `root` is the one that holds most of its entries."""
    found = {}
    for name, roots in manifest.families.items():
        largest = max(roots, key=lambda record: len(record.entries))
        entries = [entry for record in roots for entry in record.entries]
        size = sum(file.size for entry in entries for file in entry.files)
        digest = sha256(msgspec.json.encode(roots)).hexdigest()
        found[name] = FamilySummary(from_text(largest.root), len(entries), size, digest)
    return found

"""Hold a manifest against the disk: by stat, as every run does, or by content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from warmup.caches.family import Env
from warmup.caches.family_table import get_family
from warmup.caches.hashing import hash_file, map_threads
from warmup.caches.records import NO_MTIME, EntryRecord, FileRecord, Manifest, RootRecord
from warmup.caches.walk import File, Snapshot
from warmup.words.escape import from_text, to_line
from warmup.words.tree import Tree


class Mismatch(NamedTuple):
    """One file that is not what the manifest says. problem: its predicate."""

    family: str
    root: str
    entry: str
    kernel: str
    name: str
    problem: str

    def __str__(self) -> str:
        path = f"{self.entry}/{self.name}" if self.name else self.entry
        return f"{self.family}: {to_line(self.kernel)}: {to_line(path)} {self.problem}"


def find_mismatch(manifest: Manifest, env: Env) -> str | None:
    """The first way in which the caches are not what the manifest says; None where it stands.

    Looks at where the environment puts each family and at size and mtime (whole seconds) of every
    file; contents are `verify_deep`'s. Fast: 100 000 entries in well under a second.
    """
    moved = _find_move(manifest, env)
    if moved is not None:
        return moved
    for name, roots in manifest.families.items():
        for record in roots:
            for entry, file, problem in _iter_changed(record):
                found = Mismatch(name, record.root, entry.path, entry.kernel, file.name, problem)
                return str(found)
    return None


def _find_move(manifest: Manifest, env: Env) -> str | None:
    for name, roots in manifest.families.items():
        expected = [from_text(record.root) for record in roots]
        actual = [str(root) for root in get_family(name).get_roots(env)]
        if actual != expected:
            moved = next(iter(sorted(set(actual) - set(expected)) or actual))
            return f"{name}: the environment now puts it at {to_line(moved)}"
    return None


def _iter_changed(record: RootRecord) -> Iterator[tuple[EntryRecord, FileRecord, str]]:
    """Files of a root whose stat is not the recorded one."""
    lstat, prefix = os.lstat, from_text(record.root) + "/"
    for entry in record.entries:
        folder = prefix + from_text(entry.path)
        for file in entry.files:
            try:
                found = lstat(f"{folder}/{from_text(file.name)}" if file.name else folder)
            except FileNotFoundError:
                yield entry, file, "is missing"
            except OSError as error:
                yield entry, file, f"cannot be read: {error.strerror}"
            else:
                if found.st_size != file.size:
                    yield entry, file, f"changed: {found.st_size} bytes, {file.size} recorded"
                elif file.mtime != found.st_mtime_ns // 1_000_000_000 and file.mtime != NO_MTIME:
                    yield entry, file, "changed: another modification time"


def verify_deep(manifest: Manifest) -> list[Mismatch]:
    """Hash every listed file; those whose content is not the recorded one, or cannot be read."""
    found: list[Mismatch] = []
    for name, roots in manifest.families.items():
        for record in roots:
            found += _verify_root(name, record)
    return found


def _verify_root(name: str, record: RootRecord) -> Iterator[Mismatch]:
    root = from_text(record.root)

    def verify(entries: list[EntryRecord]) -> list[Mismatch]:
        try:
            with Tree(root) as tree:
                return verify_entries(tree, entries)
        except OSError as error:
            return [
                make(entry, file, _describe(error)) for entry in entries for file in entry.files
            ]

    def verify_entries(tree: Tree, entries: list[EntryRecord]) -> list[Mismatch]:
        found = (
            (entry, file, _find_damage(tree, entry, file))
            for entry in entries
            for file in entry.files
        )
        return [make(entry, file, problem) for entry, file, problem in found if problem]

    def make(entry: EntryRecord, file: FileRecord, problem: str) -> Mismatch:
        return Mismatch(name, record.root, entry.path, entry.kernel, file.name, problem)

    yield from map_threads(verify, record.entries)


def _find_damage(tree: Tree, entry: EntryRecord, file: FileRecord) -> str | None:
    path = f"{from_text(entry.path)}/{from_text(file.name)}".rstrip("/")
    try:
        dir_fd, name = tree.locate(path)
        return None if hash_file(name, dir_fd=dir_fd) == file.sha256 else "content changed"
    except OSError as error:
        return _describe(error)


def _describe(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    return f"cannot be read: {error.strerror or error}"


def find_snapshot_mismatch(manifest: Manifest, env: Env, snapshot: Snapshot) -> str | None:
    """`find_mismatch` against a walk that was just made, instead of another stat of each file.

    snapshot: has every root of every family where `env` puts it.
    """
    moved = _find_move(manifest, env)
    if moved is not None:
        return moved
    for name, roots in manifest.families.items():
        found = {root.root: root for root in snapshot.families[name]}
        for record in roots:
            root = found[from_text(record.root)]
            for entry in record.entries:
                files = root.entries.get(from_text(entry.path), [])
                for file in entry.files:
                    problem = _find_change(file, _find_file(files, from_text(file.name)))
                    if problem is not None:
                        at = (name, record.root, entry.path, entry.kernel, file.name)
                        return str(Mismatch(*at, problem))
    return None


def _find_file(files: list[File], name: str) -> File | None:
    """Entries have a few files: to look at each is quicker than to make a dictionary of them."""
    for file in files:
        if file.name == name:
            return file
    return None


def _find_change(file: FileRecord, found: File | None) -> str | None:
    if found is None:
        return "is missing"
    if found.size != file.size:
        return f"changed: {found.size} bytes, {file.size} recorded"
    if file.mtime != found.mtime_ns // 1_000_000_000 and file.mtime != NO_MTIME:
        return "changed: another modification time"
    return None

"""Hold a manifest against the disk: by stat, as every run does, or by content."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from warmup.caches.family import Env
from warmup.caches.family_table import get_family
from warmup.caches.hashing import hash_file, map_threads
from warmup.caches.records import (
    NO_CONTENT,
    NO_MTIME,
    EntryRecord,
    FileRecord,
    Manifest,
    RootRecord,
)
from warmup.caches.walk import RootSnapshot, Snapshot
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


def find_mismatch(manifest: Manifest, env: Env, snapshot: Snapshot | None = None) -> str | None:
    """The first way in which the caches are not what the manifest says; None where it stands.

    Looks at where the environment puts each family and at size and mtime (whole seconds) of every
    file; contents are `verify_deep`'s. Fast: 100 000 entries in well under a second. snapshot: a
    walk that was just made, asked instead of another stat where it has the root.
    """
    moved = _find_move(manifest, env)
    if moved is not None:
        return moved
    for name, roots in manifest.families.items():
        walked = {root.root: root for root in snapshot.families.get(name, ())} if snapshot else {}
        for record in roots:
            root = from_text(record.root)
            with contextlib.ExitStack() as stack:
                if root in walked:
                    find = _ask_walk(walked[root])
                else:
                    find = stack.enter_context(_asked_disk(root))
                for entry, file, problem in _iter_changed(record, find):
                    path = (entry.path, entry.kernel, file.name)
                    return str(Mismatch(name, record.root, *path, problem))
    return None


def _find_move(manifest: Manifest, env: Env) -> str | None:
    for name, roots in manifest.families.items():
        expected = [from_text(record.root) for record in roots]
        actual = [str(root) for root in get_family(name).get_roots(env)]
        if actual != expected:
            moved = next(iter(sorted(set(actual) - set(expected)) or actual))
            return f"{name}: the environment now puts it at {to_line(moved)}"
    return None


@contextlib.contextmanager
def _asked_disk(root: str) -> Iterator[Callable[[str, str], tuple[int, int]]]:
    """Size and mtime (ns) of a file of an entry. Raises OSError.

    From the root's descriptor: the kernel need not find the root again for each of 200 000 files.
    """
    lstat = os.lstat
    try:
        fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        why = error

        def refuse(entry: str, name: str) -> tuple[int, int]:
            raise why

        yield refuse
        return

    def find(entry: str, name: str) -> tuple[int, int]:
        found = lstat(f"{entry}/{name}" if name else entry, dir_fd=fd)
        return found.st_size, found.st_mtime_ns

    try:
        yield find
    finally:
        os.close(fd)


def _ask_walk(root: RootSnapshot) -> Callable[[str, str], tuple[int, int]]:
    """The same, of what a walk saw."""
    entries = root.entries

    def find(entry: str, name: str) -> tuple[int, int]:
        # Entries have a few files: to look at each is quicker than to make a dictionary of them.
        for file in entries.get(entry, ()):
            if file.name == name:
                return file.size, file.mtime_ns
        raise FileNotFoundError

    return find


def _iter_changed(
    record: RootRecord, find: Callable[[str, str], tuple[int, int]]
) -> Iterator[tuple[EntryRecord, FileRecord, str]]:
    """Files of a root whose size or mtime is not the recorded one."""
    for entry in record.entries:
        folder = from_text(entry.path)
        for file in entry.files:
            try:
                size, mtime_ns = find(folder, from_text(file.name) if file.name else "")
            except OSError as error:
                yield entry, file, _describe(error)
            else:
                if file.mtime == NO_CONTENT:
                    continue
                if size != file.size:
                    yield entry, file, f"changed: {size} bytes, {file.size} recorded"
                elif file.mtime != mtime_ns // 1_000_000_000 and file.mtime != NO_MTIME:
                    yield entry, file, "changed: another modification time"


def verify_deep(manifest: Manifest) -> list[Mismatch]:
    """Hash every listed file; those whose content is not the recorded one, or cannot be read."""
    found: list[Mismatch] = []
    for name, roots in manifest.families.items():
        for record in roots:
            found += map_threads(partial(_verify_entries, name, record.root), record.entries)
    return found


def _verify_entries(name: str, root: str, entries: list[EntryRecord]) -> list[Mismatch]:
    pairs = [(entry, file) for entry in entries for file in entry.files]
    try:
        with Tree(from_text(root)) as tree:
            problems = [_find_damage(tree, *pair) for pair in pairs]
    except OSError as error:
        problems = [_describe(error)] * len(pairs)
    return [
        Mismatch(name, root, entry.path, entry.kernel, file.name, problem)
        for (entry, file), problem in zip(pairs, problems, strict=True)
        if problem
    ]


def _find_damage(tree: Tree, entry: EntryRecord, file: FileRecord) -> str | None:
    path = f"{from_text(entry.path)}/{from_text(file.name)}".rstrip("/")
    try:
        dir_fd, name = tree.locate(path)
        digest = hash_file(name, dir_fd=dir_fd)
        is_right = digest == file.sha256 or file.mtime == NO_CONTENT
        return None if is_right else "content changed"
    except OSError as error:
        return _describe(error)


def _describe(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    return f"cannot be read: {error.strerror or error}"

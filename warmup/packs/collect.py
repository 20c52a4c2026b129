"""What a push packs: the cache entries that fresh markers need, as they lie on this disk.

Each file is held against its marker's manifest while it is packed, so that what is signed is what
was warmed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from warmup.caches.api import (
    NO_CONTENT,
    EntryRecord,
    FileRecord,
    get_family,
    get_variables,
    hash_file,
)
from warmup.launch.api import Launch
from warmup.packs.archive import Member
from warmup.packs.contents import PackEntry, PackFile, PackLaunch
from warmup.state.api import Home, Marker, read_bound_manifest
from warmup.words.errors import IntegrityError
from warmup.words.escape import from_text
from warmup.words.files import open_regular
from warmup.words.tree import Tree

# Ninja builds everything again without its log, and a warm-up's manifest does not list it: every
# build rewrites it.
_NINJA = "build.ninja"
_COMPANIONS = (".ninja_log", ".ninja_deps")


@dataclass
class CollectedFamily:
    """roots: where its entries lie, the strongest first. entries: path → its entry and its root."""

    name: str
    folder: str
    roots: list[str] = field(default_factory=list)
    entries: dict[str, tuple[PackEntry, str]] = field(default_factory=dict)

    @property
    def files(self) -> Iterator[tuple[PackFile, str]]:
        for entry, root in self.entries.values():
            for file in entry.files:
                yield file, root


@dataclass(frozen=True)
class Collected:
    launches: tuple[PackLaunch, ...]
    families: Mapping[str, CollectedFamily]
    created: str


def get_folder(family: str) -> str:
    """Where a family lies below a cache root: the root of it that a server asks first."""
    top = Path("/")
    root = get_family(family).get_roots({"HOME": "/", **get_variables(top)})[0]
    return root.relative_to(top).as_posix()


def collect(home: Home, warm: Sequence[tuple[Launch, Marker]]) -> Collected:
    """warm: launches with their fresh markers. Raises IntegrityError for a file that has changed
    since its marker was written, as far as a stat tells."""
    families: dict[str, CollectedFamily] = {}
    launches = []
    for launch, marker in warm:
        manifest = read_bound_manifest(home, marker)
        needs: dict[str, list[str]] = {}
        for name, roots in manifest.families.items():
            found = families.setdefault(name, CollectedFamily(name, get_folder(name)))
            needs[name] = []
            for record in roots:
                if record.entries and record.root not in found.roots:
                    found.roots.append(record.root)
                needs[name] += _collect_root(found, from_text(record.root), record.entries)
        launches.append(_make_launch(launch, marker, needs))
    held = {name: family for name, family in sorted(families.items()) if family.entries}
    return Collected(tuple(launches), held, max(marker.created for _, marker in warm))


def _make_launch(launch: Launch, marker: Marker, needs: Mapping[str, list[str]]) -> PackLaunch:
    return PackLaunch(
        model=launch.label,
        tp=launch.tp,
        engine=launch.engine,
        launch_key=marker.launch_key,
        engine_version=marker.engine_version,
        ingredients=list(marker.version_vector),
        seconds=marker.seconds,
        proven=marker.proven,
        warmed_by=marker.warmed_by,
        ladder=marker.ladder,
        skipped_steps=list(marker.skipped_steps),
        entries={name: sorted(set(paths)) for name, paths in needs.items() if paths},
    )


def _collect_root(found: CollectedFamily, root: str, entries: list[EntryRecord]) -> list[str]:
    if not entries:
        return []
    is_touched = get_family(found.name).is_touched
    with Tree(root) as tree:
        for entry in entries:
            if entry.path in found.entries:  # of a stronger root, or of another launch
                continue
            files = [_stat(tree, found.name, entry, record) for record in entry.files]
            files += _list_companions(tree, entry)
            latest = max((f.mtime_ns for f in files if not is_touched(f.path)), default=0)
            # A time that every hit moves would make another layer of the same kernels.
            files = [
                PackFile(f.path, f.size, f.sha256, latest, f.executable)
                if is_touched(f.path)
                else f
                for f in files
            ]
            found.entries[entry.path] = (PackEntry(entry.path, entry.kernel, files), root)
    return [entry.path for entry in entries]


def _stat(tree: Tree, family: str, entry: EntryRecord, record: FileRecord) -> PackFile:
    path = f"{entry.path}/{record.name}".rstrip("/")
    try:
        dir_fd, name = tree.locate(from_text(path))
        found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if record.mtime == NO_CONTENT:  # what servers add to is packed as it is now
            digest = hash_file(name, dir_fd=dir_fd)
            return PackFile(path, found.st_size, digest, found.st_mtime_ns)
    except OSError as error:
        raise _changed(family, path, error.strerror or str(error)) from error
    if found.st_size != record.size:
        raise _changed(family, path, f"{found.st_size} bytes, {record.size} recorded")
    if record.mtime >= 0 and record.mtime != found.st_mtime_ns // 10**9:
        raise _changed(family, path, "another modification time")
    return PackFile(
        path, record.size, record.sha256, found.st_mtime_ns, bool(found.st_mode & 0o100)
    )


def _list_companions(tree: Tree, entry: EntryRecord) -> Iterator[PackFile]:
    for record in entry.files:
        folder, _, name = record.name.rpartition("/")
        if name != _NINJA:
            continue
        for companion in _COMPANIONS:
            path = "/".join(filter(None, (entry.path, folder, companion)))
            with contextlib.suppress(FileNotFoundError):
                dir_fd, name = tree.locate(from_text(path))
                found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
                digest = hash_file(name, dir_fd=dir_fd)
                yield PackFile(path, found.st_size, digest, found.st_mtime_ns)


@contextlib.contextmanager
def open_members(family: CollectedFamily) -> Iterator[list[Member]]:
    """The family's files, to be written to a layer; each checks itself when it is read."""
    with contextlib.ExitStack() as stack:
        roots = dict.fromkeys(root for _, root in family.entries.values())
        trees = {root: stack.enter_context(Tree(root)) for root in roots}
        yield [
            Member(
                path=f"{family.folder}/{file.path}",
                size=file.size,
                mtime_s=file.mtime_ns // 10**9,
                executable=file.executable,
                open=_Opener(family.name, trees[root], file),
            )
            for file, root in family.files
        ]


@dataclass(frozen=True)
class _Opener:
    family: str
    tree: Tree
    file: PackFile

    def __call__(self) -> BinaryIO:
        try:
            dir_fd, name = self.tree.locate(from_text(self.file.path))
            fd = open_regular(name, dir_fd=dir_fd)
        except OSError as error:
            raise _changed(self.family, self.file.path, error.strerror or str(error)) from error
        raw = os.fdopen(fd, "rb", buffering=0)
        return io.BufferedReader(_Checked(raw, self.family, self.file), 1 << 18)


class _Checked(io.RawIOBase):
    """A file that must have the sha256 that was recorded; told at its end."""

    def __init__(self, raw: io.FileIO, family: str, file: PackFile) -> None:
        self._raw, self._family, self._file = raw, family, file
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        count = self._raw.readinto(view) or 0
        self._hash.update(view[:count])
        if count == 0 and self._hash.hexdigest() != self._file.sha256:
            raise _changed(self._family, self._file.path, "another content")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _changed(family: str, path: str, how: str) -> IntegrityError:
    return IntegrityError(
        f"{family}: {path} is not what was warmed",
        cause=how,
        hint="`warmup-ci audit --deep` tells more; `warmup-ci run --force` warms again",
    )

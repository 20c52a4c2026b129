"""One walk over a family's folders: which entries are there, with each file's stat.

Never outside a root: symbolic links below it are listed, not followed, whoever puts one where a
folder was (`words.tree`), and other mounts are not entered. Entries that vanish mid-walk are left
out; what cannot be read is reported. Depth is bounded by the file system alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from warmup.caches.collector import paused_collector
from warmup.caches.family import Env, Family, unique
from warmup.caches.family_table import get_family
from warmup.words.escape import to_line
from warmup.words.tree import Tree

_TRUSTED_UIDS = frozenset({0, os.geteuid()})


class File(msgspec.Struct, frozen=True, gc=False):
    """name: relative to its entry, "" where the file is the entry. Times in ns since the epoch.

    is_exposed: others may write it, or it belongs to neither this user nor root.
    """

    name: str
    size: int
    mtime_ns: int
    atime_ns: int
    is_exposed: bool = False


class RootSnapshot(msgspec.Struct, frozen=True, gc=False):
    """What lay under one root: entries (path relative to it → files), and what else.

    empty: folders without anything in them. links: symbolic links, which nothing here follows.
    exposed: folders that others may write in, or that belong to neither this user nor root.
    is_marked: every file's atime was set to 0 and this file system moves it on a read
    (`warmup.caches.unread.mark_unread`). problems: what could not be read, one line each.
    """

    root: str
    entries: dict[str, list[File]]
    temporaries: list[str] = []
    links: list[str] = []
    empty: list[str] = []
    exposed: list[str] = []
    problems: list[str] = []
    is_marked: bool = False


class Snapshot(msgspec.Struct, frozen=True):
    """families: name → one `RootSnapshot` for each of its roots, in the family's order."""

    families: dict[str, list[RootSnapshot]]

    @property
    def problems(self) -> list[str]:
        return [p for roots in self.families.values() for root in roots for p in root.problems]


def take_snapshot(families: Sequence[str], *envs: Env) -> Snapshot:
    """Walk and stat every root of these families as one of `envs` places them, each once.

    A root that is missing is an empty one. Raises UsageError for an unknown family, nothing else.
    """
    with paused_collector():
        found = {}
        for name in families:
            family = get_family(name)
            roots = unique([root for env in envs for root in family.get_roots(env)])
            found[name] = [walk_root(family, root) for root in roots]
        return Snapshot(found)


def walk_root(family: Family, root: Path) -> RootSnapshot:
    """The entries under one root; see `RootSnapshot`."""
    found = RootSnapshot(str(root), {})
    try:
        with Tree(root) as tree:
            _walk_tree(family, found, tree)
    except FileNotFoundError:
        pass
    except OSError as error:
        found.problems.append(f"{to_line(found.root)}: {error.strerror}")
    return found


def _walk_tree(family: Family, found: RootSnapshot, tree: Tree) -> None:
    stack = [""]
    while stack:
        folder = stack.pop()
        try:
            fd = tree.get_fd(folder)
            if _is_exposed(os.fstat(fd)):
                found.exposed.append(folder)
            with os.scandir(fd) as items:
                num_items = _visit(family, found, stack, f"{folder}/" if folder else "", items)
        except FileNotFoundError:
            continue
        except OSError as error:
            found.problems.append(f"{to_line(f'{found.root}/{folder}')}: {error.strerror}")
        else:
            if not num_items and folder:
                found.empty.append(folder)


def _is_exposed(status: os.stat_result) -> bool:
    return status.st_mode & 0o002 != 0 or status.st_uid not in _TRUSTED_UIDS


def _visit(
    family: Family,
    found: RootSnapshot,
    stack: list[str],
    prefix: str,
    items: Iterator[os.DirEntry[str]],
) -> int:
    """Sort the items of one folder into `found`, its folders onto the stack; how many they are."""
    num_items = 0
    find_entry, entries = family.find_entry, found.entries
    for item in items:
        num_items += 1
        path = prefix + item.name
        if item.is_dir(follow_symlinks=False):
            stack.append(path)
        elif not item.is_file(follow_symlinks=False):
            if item.is_symlink():
                found.links.append(path)
        elif (entry := find_entry(path)) is not None:
            try:
                stat = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            is_exposed = stat.st_mode & 0o002 != 0 or stat.st_uid not in _TRUSTED_UIDS
            name, times = path[len(entry) + 1 :], (stat.st_mtime_ns, stat.st_atime_ns)
            file = File(name, stat.st_size, *times, is_exposed)
            if (files := entries.get(entry)) is None:
                entries[entry] = [file]
            else:
                files.append(file)
        elif family.is_temporary(path):
            found.temporaries.append(path)
    return num_items

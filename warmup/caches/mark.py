"""What was compiled after a moment, found without a walk before it.

Two walks of 100 000 entries cost seconds around a command that may compile nothing. Every family
that writes atomically makes, renames or removes a name in an entry's folder, which moves the
folder's mtime; a folder without subfolders (two links) whose mtime is older is not opened. Where
that does not hold, more is looked at: families that write in place are listed whole, a file system
that does not count links has every folder opened, and what servers write anew without compiling,
or where another host's clock counts, is walked before and after.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from warmup.caches.family import Env, Family
from warmup.caches.family_table import get_family
from warmup.caches.manifest import NewEntry, find_new
from warmup.caches.walk import RootSnapshot, Snapshot, walk_root
from warmup.words.escape import to_text
from warmup.words.mounts import find_mount
from warmup.words.tree import Tree

_CLOCK_REALTIME_COARSE = 5  # <linux/time.h>
_TICK_S = 0.1  # a tick takes 10 ms at most; longer only if the clock is set back meanwhile
_FOREIGN_CLOCKS = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "gpfs", "beegfs", "fuse")


class Mark(msgspec.Struct, frozen=True):
    """A moment of the local inode clock, ns. walked: roots that had to be walked for it."""

    families: tuple[str, ...]
    roots: dict[str, list[Path]]
    since_ns: int
    walked: Snapshot


def make_mark(families: Sequence[str], env: Env) -> Mark:
    """Now. Whatever is written once this has returned is after it. Raises UsageError."""
    roots: dict[str, list[Path]] = {}
    walked: dict[str, list[RootSnapshot]] = {}
    for name in families:
        family = get_family(name)
        for root in family.get_roots(env):
            mount = find_mount(str(root))
            is_foreign = mount is not None and mount.kind.split(".")[0] in _FOREIGN_CLOCKS
            if family.has_stores or is_foreign:
                walked.setdefault(name, []).append(walk_root(family, root))
            else:
                roots.setdefault(name, []).append(root)
    # Inodes are stamped by the fine clock or, mostly, by the coarse one, which lags by a tick: no
    # earlier stamp is above the fine clock, no later one is below it once the coarse has passed.
    since_ns = time.time_ns()
    deadline = time.monotonic() + _TICK_S
    while time.clock_gettime_ns(_CLOCK_REALTIME_COARSE) <= since_ns and time.monotonic() < deadline:
        time.sleep(0.001)
    return Mark(tuple(families), roots, since_ns, Snapshot(walked))


def find_new_after(mark: Mark) -> dict[str, list[NewEntry]]:
    """As `find_new`: entries made or changed after the mark; families without any are left out."""
    again = {
        name: [walk_root(get_family(name), Path(root.root)) for root in roots]
        for name, roots in mark.walked.families.items()
    }
    found = find_new(mark.walked, Snapshot(again))
    for name, roots in mark.roots.items():
        family = get_family(name)
        for root in roots:
            found.setdefault(name, []).extend(_find_changed(family, root, mark.since_ns))
    return {
        name: sorted(found[name], key=lambda one: (one.t, one.entry))
        for name in mark.families
        if found.get(name)
    }


def _find_changed(family: Family, root: Path, since_ns: int) -> list[NewEntry]:
    times: dict[str, int] = {}
    try:
        with Tree(root) as tree:
            stack = [""]
            while stack:
                folder = stack.pop()
                with contextlib.suppress(OSError):  # gone, or not ours to read: `audit` tells of it
                    for item in tree.scan(folder):
                        path = f"{folder}/{item.name}".lstrip("/")
                        _look(family, item, path, since_ns, stack, times)
            found = []
            for entry, mtime_ns in times.items():
                kernel = family.get_kernel(Path(tree.real), entry, _list_files(tree, entry))
                found.append(NewEntry(to_text(entry), to_text(kernel), mtime_ns / 1e9))
            return found
    except OSError:
        return []


def _look(
    family: Family,
    item: os.DirEntry[str],
    path: str,
    since_ns: int,
    stack: list[str],
    times: dict[str, int],
) -> None:
    if item.is_dir(follow_symlinks=False):
        stat = item.stat(follow_symlinks=False)
        if not family.is_atomic or stat.st_nlink != 2 or stat.st_mtime_ns > since_ns:
            stack.append(path)
    elif item.is_file(follow_symlinks=False) and not family.is_touched(item.name):
        mtime_ns = item.stat(follow_symlinks=False).st_mtime_ns
        if mtime_ns > since_ns and (entry := family.find_entry(path)) is not None:
            times[entry] = max(mtime_ns, times.get(entry, 0))


def _list_files(tree: Tree, entry: str) -> list[str]:
    """Names of an entry's files, relative to it; [""] where the entry is a file."""
    names: list[str] = []
    stack = [""]
    while stack:
        folder = stack.pop()
        try:
            items = list(tree.scan(f"{entry}/{folder}".rstrip("/")))
        except OSError:
            continue
        for item in items:
            path = f"{folder}/{item.name}".lstrip("/")
            (stack if item.is_dir(follow_symlinks=False) else names).append(path)
    return names or [""]

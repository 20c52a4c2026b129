"""Which cache entries a warm-up reads: access times show it, where the file system keeps them."""

from __future__ import annotations

import contextlib
import os
import stat

import msgspec

from warmup.caches.walk import RootSnapshot, Snapshot
from warmup.words.files import open_regular
from warmup.words.tree import Tree


def mark_unread(snapshot: Snapshot) -> Snapshot:
    """Set every file's atime to 0, keeping its mtime, so that the first read after it shows.

    Under relatime a read moves an atime that is not after the mtime (mount(8)). Roots where that
    does not hold (noatime, another owner's files) come back unmarked; nothing is lost by it.
    """
    families = {
        name: [msgspec.structs.replace(root, is_marked=_mark_root(root)) for root in roots]
        for name, roots in snapshot.families.items()
    }
    return Snapshot(families)


def _mark_root(snapshot: RootSnapshot) -> bool:
    """False where one cannot be marked. Nothing outside the root is."""
    probe = ""
    try:
        with Tree(snapshot.root) as tree:
            for entry, files in snapshot.entries.items():
                for file in files:
                    path = f"{entry}/{file.name}" if file.name else entry
                    with contextlib.suppress(FileNotFoundError):
                        if _mark_file(*tree.locate(path)) and file.size > 0:
                            probe = probe or path
            return probe != "" and _is_read_seen(*tree.locate(probe))
    except OSError:
        return False


def _mark_file(dir_fd: int, name: str) -> bool:
    """False for what another name may share with a place that is not ours: it counts as read."""
    status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    if status.st_nlink != 1 or not stat.S_ISREG(status.st_mode):
        return False
    os.utime(name, ns=(0, status.st_mtime_ns), dir_fd=dir_fd, follow_symlinks=False)
    return True


def _is_read_seen(dir_fd: int, name: str) -> bool:
    """Whether reading this file, whose atime is 0, moves its atime; put back to 0 after."""
    fd = open_regular(name, dir_fd=dir_fd)
    try:
        before = os.fstat(fd)
        os.read(fd, 1)
        seen = os.fstat(fd).st_atime_ns > 0
        os.utime(fd, ns=(0, before.st_mtime_ns))
    finally:
        os.close(fd)
    return seen

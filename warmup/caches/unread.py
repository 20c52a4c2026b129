"""Which cache entries a warm-up reads: access times show it, where the file system keeps them."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from warmup.caches.walk import RootSnapshot, Snapshot


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
    probe: Path | None = None
    for entry, files in snapshot.entries.items():
        for file in files:
            path = Path(snapshot.root, entry, file.name)
            try:
                mtime_ns = path.lstat().st_mtime_ns
                os.utime(path, ns=(0, mtime_ns), follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError:
                return False
            if probe is None and file.size > 0:
                probe = path
    return probe is not None and _is_read_seen(probe)


def _is_read_seen(path: Path) -> bool:
    """Whether reading this file, whose atime is 0, moves its atime; put back to 0 after."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            before = os.fstat(fd)
            os.read(fd, 1)
            seen = os.fstat(fd).st_atime_ns > 0
            os.utime(fd, ns=(0, before.st_mtime_ns))
        finally:
            os.close(fd)
    except OSError:
        return False
    return seen

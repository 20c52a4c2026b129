"""Below a cache's root: open, remove. The root may be reached through links, nothing below it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from warmup.words.files import Folder


def open_below(root: str | Path, folder: str = "") -> Folder:
    """The folder at a relative path below a root.

    Raises OSError, also for a path that leads out, links on the way, and another mount's folders.
    """
    if folder:
        _check_path(folder)
    with Folder.open(Path(os.path.realpath(root, strict=True))) as opened:
        return opened.descend(folder)


def remove_inside(root: str | Path, path: str, *, prune: bool = False) -> bool:
    """Remove a file, a link or a folder below `root`; False where it was gone already.

    prune: also the folders on the way that hold nothing any more. Raises OSError as `open_below`
    and `Folder.remove` do.
    """
    _check_path(path)
    parent, _, name = path.rpartition("/")
    try:
        with open_below(root, parent) as folder:
            was_there = folder.remove(name)
    except FileNotFoundError:
        return False
    if prune:
        _remove_empty(root, parent)
    return was_there


def set_aside(root: str | Path, path: str) -> str:
    """Rename a file or folder below `root` beside itself, to what every family takes for a
    temporary: no server reads it, `gc` collects it. Returns the new path, relative to the root.

    Raises OSError as `open_below` does, FileNotFoundError where it is gone.
    """
    _check_path(path)
    parent, _, name = path.rpartition("/")
    aside = f".tmp-quarantine-{os.urandom(4).hex()}-{name[:200]}"
    with open_below(root, parent) as folder:
        folder.rename(name, aside)
    return f"{parent}/{aside}".lstrip("/")


def _check_path(path: str) -> None:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise OSError(errno.EINVAL, "not a path below the cache's root", path)


def _remove_empty(root: str | Path, path: str) -> None:
    while path:
        path, _, name = path.rpartition("/")
        try:
            with open_below(root, path) as folder:
                folder.rmdir(name)
        except OSError:  # not empty, or gone, or not ours
            return

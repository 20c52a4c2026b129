"""Remove cache entries, never anything outside their root."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path


def remove_inside(root: Path, path: str) -> bool:
    """Remove a file or a folder below `root`; False where it was gone already.

    A folder goes in one step, renamed to what every family takes for a temporary before it is
    emptied: no server meets a half. `path` is relative. Symbolic links on the way to it are
    refused, a link itself is unlinked; `rmtree` does not follow those below. Raises OSError where
    it cannot or must not be removed.
    """
    parts = path.split("/")
    if not path or any(part in ("", ".", "..") for part in parts):
        raise OSError(f"{path!r} is no path below {root}")
    real = Path(os.path.realpath(root))
    target = real.joinpath(*parts)
    if Path(os.path.realpath(target.parent)) != target.parent:
        raise OSError(f"{target.parent} leads through a symbolic link")
    if not os.path.lexists(target):
        return False
    if target.is_dir() and not target.is_symlink():
        aside = target.with_name(f"tmp.pid_{os.getpid()}_{secrets.token_hex(8)}")
        target.rename(aside)
        try:
            shutil.rmtree(aside)
        except RecursionError:  # CPython before 3.13: a tree that only malice makes that deep
            raise OSError(f"{target} is nested too deep to remove") from None
    else:
        target.unlink()
    return True


def remove_empty_parents(root: Path, path: str) -> None:
    """Remove the folders between `root` and `path` that hold nothing any more."""
    folder = Path(path).parent
    while folder != Path():
        try:
            (root / folder).rmdir()
        except OSError:
            return
        folder = folder.parent

"""Find a program as a server would, whatever folder it runs in."""

from __future__ import annotations

import os
from collections.abc import Mapping


def find_on_path(name: str, env: Mapping[str, str]) -> str | None:
    """The first executable file called `name` on `PATH`, as spelled there.

    Unlike shutil.which it skips relative folders: they mean another one to each server, which
    runs in a folder of its own.
    """
    for folder in (env.get("PATH") or os.defpath).split(os.pathsep):
        candidate = f"{folder.rstrip('/')}/{name}"
        if folder.startswith("/") and is_executable(candidate):
            return candidate
    return None


def is_executable(path: str) -> bool:
    """Whether this is a file that this user may run."""
    return os.path.isfile(path) and os.access(path, os.X_OK)  # noqa: PTH113 - never raises

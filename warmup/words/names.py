"""Names of cache families and engines: one file each, so the folders are the list.

A new family or engine is its own file and its test; nothing else has to name it.
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent


def _list_modules(folder: Path) -> tuple[str, ...]:
    names = sorted(name[:-3] for name in os.listdir(folder) if name.endswith(".py"))
    return tuple(name for name in names if not name.startswith("_"))


FAMILY_NAMES = _list_modules(_PACKAGE / "caches" / "families")
"""Words of `caches/families/`, in alphabetical order."""

ENGINE_NAMES = tuple(
    name.replace("_", "-") for name in _list_modules(_PACKAGE / "launch" / "engines")
)
"""Words of `engine = "…"`, in alphabetical order."""

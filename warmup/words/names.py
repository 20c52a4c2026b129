"""Names of cache families and engines: one file each, so the folders are the list.

A new family or engine is its own file and its test; nothing else has to name it.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent


def _list_modules(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__"))


FAMILY_NAMES = _list_modules(_PACKAGE / "caches" / "families")
"""Words of `caches/families/`, in alphabetical order."""

ENGINE_NAMES = tuple(
    name.replace("_", "-") for name in _list_modules(_PACKAGE / "launch" / "engines")
)
"""Words of `engine = "…"`, in alphabetical order."""

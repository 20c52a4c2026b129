"""Find a JIT cache family by name; each is imported only when asked for."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

from warmup.caches.family import Family
from warmup.words.errors import UsageError
from warmup.words.names import FAMILY_NAMES


@cache
def get_family(name: str) -> Family:
    """The family called `name`. Raises UsageError for a word that names none."""
    if name not in FAMILY_NAMES:
        raise UsageError(
            f"no JIT cache family is called {name!r}", hint="one of " + ", ".join(FAMILY_NAMES)
        )
    family: Family = importlib.import_module(f"warmup.caches.families.{name}").FAMILY
    return family


def list_families() -> tuple[Family, ...]:
    """All of them, in the order of their names."""
    return tuple(map(get_family, FAMILY_NAMES))


def get_variables(cache_root: Path) -> dict[str, str]:
    """Variables that put each family under `cache_root/<family>`; servers and tests need them."""
    variables: dict[str, str] = {}
    for family in list_families():
        variables.update(family.get_variables(cache_root / family.name))
    return variables

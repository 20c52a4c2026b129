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


def get_variables(cache_root: Path) -> dict[str, str]:
    """Variables that put each family under `cache_root/<family>`; servers and tests need them."""
    variables: dict[str, str] = {}
    for name in FAMILY_NAMES:
        variables.update(get_family(name).get_variables(cache_root / name))
    return variables

"""Which JIT cache families an ingredient of the version vector can invalidate.

Derived from the families' and the engines' own files, towards naming a family rather than not.
Asked only once something changed: a warm run imports no engine for it.
"""

from __future__ import annotations

from functools import cache

from warmup.caches.api import list_families
from warmup.launch.api import get_engine
from warmup.state.relevant_env import ENGINE_PREFIXES, is_relevant
from warmup.words.names import ENGINE_NAMES, FAMILY_NAMES


@cache
def find_touched(ingredient: str) -> tuple[str, ...]:
    """Names of the families, in their table's order; () for an ingredient that none names."""
    kind, _, name = ingredient.partition(":")
    touched: set[str] = set()
    if kind == "env":
        touched = _find_of_variable(name)
    elif kind == "engine":
        touched = _find_filled(name) or set(FAMILY_NAMES)
    else:
        touched = {each.name for each in list_families() if kind in each.ingredients}
    return tuple(each for each in FAMILY_NAMES if each in touched)


def _find_filled(distribution: str) -> set[str]:
    """What the engines of this Python distribution fill; nothing where none is known."""
    engines = [each for each in map(get_engine, ENGINE_NAMES) if each.distribution == distribution]
    return {family for engine in engines for family in engine.families}


def _find_of_variable(name: str) -> set[str]:
    if not is_relevant(name):
        return set()
    found = {each.name for each in list_families() if each.is_changed_by(name)}
    for prefix, distribution in ENGINE_PREFIXES.items():
        if name.startswith(prefix):
            found |= _find_filled(distribution)
    return found

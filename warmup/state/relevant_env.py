"""Which environment variables can decide what a JIT compiler makes.

Each family names its own (`Family.env_names`), from the packages that it cites. Left out: where a
cache lies (a family's root is checked instead), what only prints, addresses and ports, which
differ on every run and caused false misses elsewhere (dynamo#10695), and secrets.

By the same tables: which families an ingredient of the version vector can invalidate, towards
naming a family rather than not. Asked only once something changed: a warm run imports no engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from warmup.caches.api import list_families
from warmup.launch.api import get_engine
from warmup.words.locations import is_location
from warmup.words.names import ENGINE_NAMES, FAMILY_NAMES
from warmup.words.secrets import Redactor, is_secret_name

# The engines' own variables, by prefix, with the distribution whose families they can change.
ENGINE_PREFIXES = {"SGLANG_": "sglang", "SGL_": "sglang", "VLLM_": "vllm"}

_NOISE = re.compile(
    r"_(PORT|PORTS|HOST|IP|ADDR|ADDRESS|URL|URI|ENDPOINT|TIMEOUT|TIMEOUT_S|LOGS?|LOG_LEVEL|VERBOSE)$"
    r"|_(LOGGING|LOG|PRINT|NCCL|TRACE)_|^TORCH_(LOGS|SHOW|DISTRIBUTED_DEBUG|CPP_LOG)"
    r"|^DG_JIT_(DEBUG|DUMP)|^(VLLM|SGLANG)_(USAGE|NO_USAGE|DO_NOT_TRACK)"
)


@cache
def _get_patterns() -> tuple[frozenset[str], tuple[str, ...]]:
    """Exact names, and prefixes, of all that changes what some family compiles."""
    names = {name for family in list_families() for name in family.env_names}
    prefixes = {name[:-1] for name in names if name.endswith("*")}
    return frozenset(names), (*sorted(prefixes), *ENGINE_PREFIXES)


def is_relevant(name: str) -> bool:
    """Whether the variable can change what some family compiles."""
    exact, prefixes = _get_patterns()
    if name not in exact and not name.startswith(prefixes):
        return False
    return not (is_location(name) or is_secret_name(name) or _NOISE.search(name))


def get_relevant(env: Mapping[str, str]) -> dict[str, str]:
    """The variables of `env` that `is_relevant` knows, sorted by name, without secrets."""
    return Redactor().redact_env({name: env[name] for name in sorted(env) if is_relevant(name)})


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

"""All hazard rules, and what they find in a snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from warmup.caches.family_table import get_family
from warmup.caches.hazards import (
    autotune,
    cubin,
    deep_gemm,
    libraries,
    ninja,
    ownership,
    place,
    quack,
    torch_lock,
    triton_group,
)
from warmup.caches.hazards.rule import Facts, Finding, Rule, RuleGroup, Scope
from warmup.caches.walk import Snapshot
from warmup.words.errors import UsageError

GROUPS: tuple[RuleGroup, ...] = (
    deep_gemm.GROUP,
    triton_group.GROUP,
    cubin.GROUP,
    ninja.GROUP,
    quack.GROUP,
    torch_lock.GROUP,
    libraries.GROUP,
    autotune.GROUP,
    ownership.GROUP,
    place.GROUP,
)
RULES: tuple[Rule, ...] = tuple(rule for group in GROUPS for rule in group.rules)


def get_rule(rule_id: str) -> Rule:
    """The rule of this id. Raises UsageError."""
    for rule in RULES:
        if rule.id == rule_id:
            return rule
    raise UsageError(f"no hazard rule is called {rule_id!r}")


def find_hazards(snapshot: Snapshot, facts: Facts) -> Iterator[Finding]:
    """What every rule finds in every root of the snapshot; nothing is changed."""
    for name, roots in snapshot.families.items():
        family = get_family(name)
        for root in roots:
            with closing(Scope(family, root, facts)) as scope:
                for group in GROUPS:
                    if name in group.families:
                        yield from group.check(scope)

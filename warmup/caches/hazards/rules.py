"""All hazard rules, and what they find in a snapshot."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from warmup.caches.family_table import get_family
from warmup.caches.hazards.rule import Facts, Finding, Rule, RuleGroup, Scope
from warmup.caches.walk import Snapshot
from warmup.words.errors import UsageError

# A new hazard is its own file, and its test.
GROUPS: tuple[RuleGroup, ...] = tuple(
    importlib.import_module(f"warmup.caches.hazards.{path.stem}").GROUP
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if path.stem not in ("__init__", "rule", "rules")
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

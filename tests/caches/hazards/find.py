"""What the rules find in one root, by id."""

from __future__ import annotations

from pathlib import Path

from warmup.caches.family_table import get_family
from warmup.caches.hazards.rule import Facts, Finding
from warmup.caches.hazards.rules import find_hazards
from warmup.caches.walk import Snapshot, walk_root

# Every cache of a test lies under /tmp.
_ALWAYS = "root-volatile"


def find(family: str, root: Path, **facts: object) -> list[Finding]:
    """Findings but for where the root lies."""
    snapshot = Snapshot({family: [walk_root(get_family(family), root)]})
    known = Facts(env={"HOME": "/nonexistent"}, **facts)  # type: ignore[arg-type]
    return [each for each in find_hazards(snapshot, known) if each.rule != _ALWAYS]


def get_rules(findings: list[Finding]) -> list[str]:
    return [each.rule for each in findings]

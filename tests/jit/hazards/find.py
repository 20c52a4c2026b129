"""What the rules find in one root, by id."""

from __future__ import annotations

from pathlib import Path

from warmup.jit.hazards.base import Facts, Finding
from warmup.jit.hazards.registry import find_hazards
from warmup.jit.registry import get_family
from warmup.jit.walk import Snapshot, walk_root

# Every cache of a test lies under /tmp.
_ALWAYS = "root-volatile"


def find(family: str, root: Path, **facts: object) -> list[Finding]:
    """Findings but for where the root lies."""
    snapshot = Snapshot({family: [walk_root(get_family(family), root)]})
    known = Facts(env={"HOME": "/nonexistent"}, **facts)  # type: ignore[arg-type]
    return [each for each in find_hazards(snapshot, known) if each.rule != _ALWAYS]


def get_rules(findings: list[Finding]) -> list[str]:
    return [each.rule for each in findings]

"""What `audit` found: as a document, and as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Literal

import msgspec

from warmup.caches.hazards.rule import Finding
from warmup.caches.hazards.rules import get_rule
from warmup.commands.audit_markers import BAD_STATES, AuditedMarker
from warmup.words.errors import EXIT_FAILED, EXIT_INTEGRITY, EXIT_OK

_SEVERITIES = ("error", "warning", "note")
_MAX_LINES = 20  # of one rule; the document holds all


class Unneeded(msgspec.Struct, frozen=True):
    """Entries of one family that no fresh marker lists. paths: absolute."""

    entries: int
    bytes: int
    paths: list[str]


class Damage(msgspec.Struct, frozen=True):
    """A listed file whose content is not what the warm-up left, or cannot be told (`--deep`)."""

    family: str
    path: str
    kernel: str
    problem: str


class Repair(msgspec.Struct, frozen=True):
    """state: `planned` in a dry run. detail: what was done, or why it could not be."""

    rule: str
    path: str
    state: Literal["planned", "done", "failed"]
    detail: str


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `audit --json`. unneeded: per family."""

    schema: int = 1
    exit_code: int
    markers: list[AuditedMarker]
    findings: list[Finding]
    damage: list[Damage]
    unneeded: dict[str, Unneeded]
    repairs: list[Repair]


def get_exit_code(
    markers: Iterable[AuditedMarker], findings: Iterable[Finding], damage: Iterable[Damage]
) -> int:
    """4 where bytes are not what was written, 1 for anything else that is wrong, else 0."""
    states = {marker.state for marker in markers}
    if "corrupt" in states or any(damage):
        return EXIT_INTEGRITY
    is_bad = states & BAD_STATES or any(finding.severity != "note" for finding in findings)
    return EXIT_FAILED if is_bad else EXIT_OK


def render(audit: Audit) -> Iterator[str]:
    """Lines, without regard to what a terminal would obey: the caller escapes them."""
    yield from _render_markers(audit.markers)
    for each in audit.damage[:_MAX_LINES]:
        yield f"damaged     {each.family} {each.kernel}: {each.path}: {each.problem}"
    yield from _render_more(len(audit.damage))
    yield from _render_findings(audit.findings)
    for repair in audit.repairs[:_MAX_LINES]:
        yield f"{repair.state:11} {repair.rule}: {repair.path}: {repair.detail}"
    yield from _render_more(len(audit.repairs))
    for family, unneeded in audit.unneeded.items():
        yield (
            f"unneeded    {family}: {unneeded.entries} entries, {get_size(unneeded.bytes)} "
            "that no fresh marker lists (see `warmup-ci gc`)"
        )
    yield _get_verdict(audit)


def _render_markers(markers: list[AuditedMarker]) -> Iterator[str]:
    for marker in markers:
        name = marker.path if marker.model is None else f"{marker.model}:{marker.tp}"
        yield f"{marker.state:11} {name}: {marker.reason}"


def _render_findings(findings: list[Finding]) -> Iterator[str]:
    """The worst first, each rule once."""
    ordered = sorted(findings, key=lambda each: (_SEVERITIES.index(each.severity), each.rule))
    for rule_id, group in groupby(ordered, key=lambda finding: finding.rule):
        rule, same = get_rule(rule_id), list(group)
        yield f"{rule.severity:11} {rule.id}: {rule.summary} ({rule.link})"
        for finding in same[:_MAX_LINES]:
            kernel = f"{finding.kernel}: " if finding.kernel else ""
            yield f"            {finding.family}: {kernel}{finding.path}: {finding.message}"
        yield from _render_more(len(same))
        num_repairable = sum(finding.is_repairable for finding in same)
        if num_repairable:
            yield f"            --fix can {rule.fix} ({num_repairable} of {len(same)})"


def _render_more(count: int) -> Iterator[str]:
    if count > _MAX_LINES:
        yield f"            … and {count - _MAX_LINES} more (--json lists them)"


def _get_verdict(audit: Audit) -> str:
    counts = dict.fromkeys(("fresh", *sorted(BAD_STATES), "superseded"), 0)
    for marker in audit.markers:
        counts[marker.state] += 1
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    severities = [finding.severity for finding in audit.findings]
    hazards = ", ".join(f"{severities.count(each)} {each}s" for each in dict.fromkeys(severities))
    return f"markers: {told or 'none'}; hazards: {hazards or 'none'}"


def get_size(size: int) -> str:
    """Bytes for people: `1.4 GiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"

"""What `audit` found, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from warmup.caches.hazards.rule import Finding
from warmup.caches.hazards.rules import get_rule
from warmup.state.audit import Audit
from warmup.state.judge import BAD_STATES, AuditedMarker

_SEVERITIES = ("error", "warning", "note")
_MAX_LINES = 20  # of one rule; the document holds all


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

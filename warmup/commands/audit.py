"""`warmup-ci audit`: hold markers against reality, and caches against their known hazards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal

from warmup.caches.api import RULES, Finding, get_rule
from warmup.report.api import SarifResult, SarifRule, get_count, get_size, make_sarif, show
from warmup.state.api import BAD_STATES, Audit, HostView, make_audit
from warmup.words.errors import UsageError
from warmup.words.escape import from_text
from warmup.words.names import FAMILY_NAMES

_SEVERITIES = ("error", "warning", "note")
_MAX_LINES = 20  # of one rule; the document holds all
_MARKER_RULES = {
    "stale": ("warning", "A marker's version vector is not this host's: the model is cold"),
    "unjudged": ("warning", "A marker's version vector cannot be read here"),
    "dangling": ("warning", "A marker's cache entries are gone or changed: the model is cold"),
    "corrupt": ("error", "A marker or its manifest is not what was written"),
    "foreign": ("warning", "A file among the markers is not a marker of this tool"),
    "outdated": ("warning", "An earlier version of this tool wrote a marker: the model is cold"),
    "future": ("warning", "A marker was written by a later version of this tool"),
    "unreadable": ("warning", "A marker cannot be read"),
}
_CONTENT = SarifRule(
    "entry-content", "error", "A cache file's content is not what the warm-up left"
)


def audit(
    session: HostView,
    *,
    families: Sequence[str] = FAMILY_NAMES,
    deep: bool = False,
    fix: bool = False,
    dry_run: bool = False,
    style: Literal["text", "sarif"] = "text",
    json_output: bool = False,
) -> int:
    """Print what is wrong. Returns 0 (nothing but notes), 1 (findings), 4 (bytes were changed).

    The options are `make_audit`'s. Raises UsageError.
    """
    if json_output and style == "sarif":
        raise UsageError("--json and --format sarif exclude each other")
    found = make_audit(session, families=families, deep=deep, fix=fix, dry_run=dry_run)
    if style == "sarif":
        show(make_sarif(_list_rules(), _list_results(found)), (), json_output=True)
    else:
        show(found, _render(found), json_output=json_output)
    return found.exit_code


def _render(audit: Audit) -> Iterator[str]:
    """Lines, without regard to what a terminal would obey: the caller escapes them."""
    for marker in audit.markers:
        name = marker.path if marker.model is None else f"{marker.model}:{marker.tp}"
        yield f"{marker.state:11} {name}: {marker.reason}"
    for each in audit.damage[:_MAX_LINES]:
        yield f"damaged     {each.family} {each.kernel}: {each.path}: {each.problem}"
    yield from _render_more(len(audit.damage))
    yield from _render_findings(audit.findings)
    for repair in audit.repairs[:_MAX_LINES]:
        yield f"{repair.state:11} {repair.rule}: {repair.path}: {repair.detail}"
    yield from _render_more(len(audit.repairs))
    for family, unneeded in audit.unneeded.items():
        told = f"{get_count(unneeded.entries, 'entry', 'entries')}, {get_size(unneeded.bytes)}"
        yield f"unneeded    {family}: {told} that no fresh marker lists (see `warmup-ci gc`)"
    yield _get_verdict(audit)


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
    counts = dict.fromkeys(("fresh", "seeded", *sorted(BAD_STATES), "superseded"), 0)
    for marker in audit.markers:
        counts[marker.state] += 1
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    severities = [finding.severity for finding in audit.findings]
    hazards = ", ".join(
        get_count(severities.count(each), each) for each in dict.fromkeys(severities)
    )
    return f"markers: {told or 'none'}; hazards: {hazards or 'none'}"


def _list_rules() -> Iterator[SarifRule]:
    for rule in RULES:
        yield SarifRule(rule.id, rule.severity, rule.summary, rule.link)
    for state, (level, text) in _MARKER_RULES.items():
        yield SarifRule(f"marker-{state}", level, text)
    yield _CONTENT


def _list_results(audit: Audit) -> Iterator[SarifResult]:
    for each in audit.findings:
        yield SarifResult(each.rule, each.severity, each.message, from_text(each.path))
    for marker in audit.markers:
        if marker.state in BAD_STATES:
            level, text = _MARKER_RULES[marker.state][0], marker.reason or marker.state
            yield SarifResult(f"marker-{marker.state}", level, text, marker.path)
    for damaged in audit.damage:
        text = f"{damaged.kernel}: {damaged.problem}"
        yield SarifResult(_CONTENT.id, _CONTENT.level, text, from_text(damaged.path))

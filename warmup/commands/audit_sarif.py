"""An audit as SARIF 2.1.0, for code scanning.

docs.oasis-open.org/sarif/sarif/v2.1.0: one run, every rule listed, one result per finding; files
are `file:` URIs, since caches lie outside the repository.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

from warmup.caches.hazards.rules import RULES
from warmup.state.audit import Audit
from warmup.state.judge import BAD_STATES
from warmup.version import __version__
from warmup.words.escape import from_text

SCHEMA_URI = "https://json.schemastore.org/sarif-2.1.0.json"
_MARKER_RULES = {
    "stale": ("warning", "A marker's version vector is not this host's: the model is cold"),
    "unjudged": ("warning", "A marker's version vector cannot be read here"),
    "dangling": ("warning", "A marker's cache entries are gone or changed: the model is cold"),
    "corrupt": ("error", "A marker or its manifest is not what was written"),
    "foreign": ("warning", "A file among the markers is no marker of this tool"),
    "future": ("warning", "A marker was written by a later version of this tool"),
    "unreadable": ("warning", "A marker cannot be read"),
}
_CONTENT = ("error", "A cache file's content is not what the warm-up left")


def make_sarif(audit: Audit) -> dict[str, Any]:
    """The SARIF document, ready for JSON."""
    results = [
        _make_result(finding.rule, finding.severity, finding.message, from_text(finding.path))
        for finding in audit.findings
    ]
    results += [
        _make_result(
            f"marker-{each.state}",
            _MARKER_RULES[each.state][0],
            each.reason or each.state,
            each.path,
        )
        for each in audit.markers
        if each.state in BAD_STATES
    ]
    results += [
        _make_result(
            "entry-content", _CONTENT[0], f"{each.kernel}: {each.problem}", from_text(each.path)
        )
        for each in audit.damage
    ]
    driver = {
        "name": "warmup-ci",
        "version": __version__,
        "rules": _list_rules(),
    }
    return {
        "$schema": SCHEMA_URI,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _list_rules() -> list[dict[str, Any]]:
    rules = [_make_rule(rule.id, rule.severity, rule.summary, rule.link) for rule in RULES]
    rules += [
        _make_rule(f"marker-{state}", level, summary)
        for state, (level, summary) in _MARKER_RULES.items()
    ]
    return [*rules, _make_rule("entry-content", *_CONTENT)]


def _make_rule(rule_id: str, level: str, summary: str, link: str = "") -> dict[str, Any]:
    rule = {
        "id": rule_id,
        "shortDescription": {"text": summary},
        "defaultConfiguration": {"level": level},
    }
    return {**rule, "helpUri": link} if link else rule


def _make_result(rule_id: str, level: str, message: str, path: str) -> dict[str, Any]:
    uri = "file://" + quote(os.fsencode(path))
    return {
        "ruleId": rule_id,
        "level": level,
        "message": {"text": message},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}}}],
    }

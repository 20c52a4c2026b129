"""SARIF 2.1.0, for code scanning.

docs.oasis-open.org/sarif/sarif/v2.1.0: one run, every rule listed, one result per finding; files
are `file:` URIs, since caches lie outside the repository.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import quote

from warmup.version import __version__

SCHEMA_URI = "https://json.schemastore.org/sarif-2.1.0.json"


class SarifRule(NamedTuple):
    """level: `error`, `warning` or `note`. link: "" where nothing is to be read."""

    id: str
    level: str
    text: str
    link: str = ""


class SarifResult(NamedTuple):
    """rule: the id of one. path: absolute, as the operating system names it."""

    rule: str
    level: str
    text: str
    path: str


def make_sarif(rules: Iterable[SarifRule], results: Iterable[SarifResult]) -> dict[str, Any]:
    """The document, ready for JSON."""
    made = []
    for rule in rules:
        told = {
            "id": rule.id,
            "shortDescription": {"text": rule.text},
            "defaultConfiguration": {"level": rule.level},
        }
        made.append({**told, "helpUri": rule.link} if rule.link else told)
    driver = {"name": "warmup-ci", "version": __version__, "rules": made}
    run = {"tool": {"driver": driver}, "results": [*map(_make_result, results)]}
    return {"$schema": SCHEMA_URI, "version": "2.1.0", "runs": [run]}


def _make_result(result: SarifResult) -> dict[str, Any]:
    uri = "file://" + quote(os.fsencode(result.path))
    return {
        "ruleId": result.rule,
        "level": result.level,
        "message": {"text": result.text},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}}}],
    }

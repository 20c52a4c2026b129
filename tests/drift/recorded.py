"""What sglang's CI warms and launches, as `tools/record_ci.py` recorded it."""

from __future__ import annotations

import json
from pathlib import Path

from warmup.drift.scan import FoundLaunch, FoundLaunches

NEWEST = sorted((Path(__file__).parent / "ci").glob("sglang-*.json"))[-1]


def read_facts(suite: str, *sections: str) -> FoundLaunches:
    """The resolved launches of a suite, from `warmed`, `arguments` and `launches`."""
    document = json.loads(NEWEST.read_text())
    launches = [
        FoundLaunch(
            fact["file"],
            fact["line"],
            fact["model"],
            tuple(fact["args"]),
            says={"warmed": "size", "arguments": "arguments"}.get(section, "all"),  # type: ignore[arg-type]
            suites=tuple(fact["suites"]),
        )
        for section in sections
        for fact in document[section]
        if fact["args"] is not None and (suite in fact["suites"] or section == "arguments")
    ]
    return FoundLaunches(tuple(launches), ())

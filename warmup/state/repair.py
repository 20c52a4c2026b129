"""What `run` puts right before it starts a server: what would hang or fail it, and is safe to do.

A stale lock hangs an H200 job (sglang#38414), a truncated file crash-loops an engine. Half entries
are renamed aside, never deleted. Only where readers see entries whole or not at all: elsewhere a
half may be one that another process is writing right now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from warmup.caches.api import Facts, Finding, find_hazards, get_family, get_rule, set_aside
from warmup.caches.api import take_snapshot as look
from warmup.state.audit import Repair
from warmup.words.escape import from_text, to_line


def repair_before_run(
    families: Sequence[str], envs: Sequence[Mapping[str, str]], facts: Facts
) -> Iterator[Repair]:
    """Do away with the hazards that the rules say may be done away with unasked.

    envs: the servers' environments, which say where the caches lie. What cannot be done is said.
    """
    done: set[str] = set()
    for finding in find_hazards(look(families, *envs), facts):
        if not finding.is_repairable or finding.path in done:
            continue
        try:
            repair = _repair(finding, done)
        except FileNotFoundError:
            continue  # somebody was faster
        except OSError as error:
            repair = Repair(finding.rule, finding.path, "failed", to_line(str(error)))
        if repair is not None:
            done.add(repair.path)
            yield repair


def _repair(finding: Finding, done: Collection[str]) -> Repair | None:
    """None where it is not to be done unasked, or was done with another finding."""
    rule, entry = get_rule(finding.rule), f"{finding.root}/{finding.entry}"
    if rule.before_run and rule.repair is not None:
        return Repair(rule.id, finding.path, "done", rule.repair(finding))
    if rule.is_half is None or entry in done or not get_family(finding.family).is_atomic:
        return None
    if not rule.is_half(finding):
        return None
    aside = set_aside(from_text(finding.root), from_text(finding.entry))
    return Repair(rule.id, entry, "done", to_line(f"put in quarantine: {aside}"))

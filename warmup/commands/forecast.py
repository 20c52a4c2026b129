"""`warmup-ci forecast BASELINE`: what a dependency bump will cost, before it is merged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from warmup.commands.session import Session
from warmup.report.api import get_count, show
from warmup.state.api import Comparison, compare, read_baseline


def forecast(session: Session, *, baseline: Path, json_output: bool = False) -> int:
    """Print which models this host's vector turns cold. Returns 0 if none, 1 if any.

    Raises UsageError.
    """
    found = compare(
        read_baseline(baseline),
        baseline,
        session.get_launches(),
        session.vector,
        session.get_vector,
    )
    show(found, _render(found), json_output=json_output)
    return found.exit_code


def _render(found: Comparison) -> Iterator[str]:
    if not found.changes:
        yield f"same version vector as {found.baseline} ({found.version_key})"
        return
    for change in found.changes:
        yield f"changed     {change}  ({', '.join(change.families)})"
    for each in found.cold:
        entries = ", ".join(f"{count} {name}" for name, count in sorted(each.entries.items()))
        last = "no last time known" if each.seconds is None else f"last took {each.seconds:.1f} s"
        inside = f" ({entries})" if entries else ""
        yield f"cold        {each.model}:{each.tp}: {last}{inside}"
    yield f"{get_count(len(found.cold), 'model')} would be cold, {found.seconds:.1f} s together"

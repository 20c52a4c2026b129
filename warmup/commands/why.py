"""`warmup-ci why MODEL[:TP]`: which ingredient made it cold, old → new, and what went with it."""

from __future__ import annotations

from collections.abc import Iterator

from warmup.commands.session import Session
from warmup.report.api import get_count, show
from warmup.state.api import Explanation, TouchedChange, explain
from warmup.words.errors import UsageError


def why(session: Session, *, json_output: bool = False) -> int:
    """Print why the one launch is cold, or that it is warm. Returns 0 if warm, 1 if cold.

    Raises UsageError where the model named is listed at several sizes.
    """
    launch, *others = session.get_launches()
    if others:
        names = ", ".join(each.name for each in (launch, *others))
        raise UsageError(f"{launch.label} is listed at several sizes: name one of {names}")
    home, vector = session.home, session.get_vector(launch)
    found = explain(home, launch, vector, session.get_env(launch))
    show(found, _render(found), json_output=json_output)
    return found.exit_code


def _render(found: Explanation) -> Iterator[str]:
    yield f"{found.model}:{found.tp} is {found.state}: {found.reason}"
    if found.state == "seeded":
        for change in found.changes:
            yield _render_change(change, max(len(each.name) for each in found.changes))
        if found.left_out:
            yield f"  left out: {', '.join(found.left_out)}"
    if found.seed_missed:
        yield f"  its seed for {found.target} missed: {', '.join(found.seed_missed)}"
    if found.nearest is not None and found.state == "cold":
        yield f"  nearest marker: {found.nearest.created}  {found.nearest.path}"
        width = max((len(change.name) for change in found.changes), default=0)
        for change in found.changes:
            yield _render_change(change, width)
        for difference in found.launch_changes:
            yield f"  launch: {difference}"
        if found.check == "fresh":
            yield "  nothing went with it: its caches stand, and a boot asks for the rest"
        else:
            lost = get_count(found.lost_entries, "entry", "entries")
            yield f"  went with it: {lost}; warming took {found.lost_seconds:.1f} s then"
    for each in found.problems:
        yield f"  {each.kind} marker: {each.path}: {each.reason}"


def _render_change(change: TouchedChange, width: int) -> str:
    touched = [
        f"{name} ({get_count(change.entries[name], 'entry', 'entries')})"
        if name in change.entries
        else name
        for name in change.families
    ]
    values = f"{change.old or 'none'} → {change.new or 'none'}"
    return f"  {change.name:{width}}  {values}  touches {', '.join(touched) or 'no family'}"

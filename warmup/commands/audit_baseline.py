"""`warmup-ci audit --baseline FILE`: what a dependency bump will cost, before it is merged."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from warmup.launch.launch import Launch
from warmup.report.output import DataOutput
from warmup.state.baseline import Baseline, BaselineModel, read_baseline
from warmup.state.marker import make_launch_key
from warmup.state.version_vector import Change, VersionVector
from warmup.words.encoding import encode_json
from warmup.words.errors import EXIT_FAILED, EXIT_OK
from warmup.words.escape import get_printable


class ColdModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that would be cold here. changes: names of the ingredients at fault.

    entries: what the last warm-up had in the families that they touch. seconds: what that warm-up
    took, None where the baseline knows none of this launch.
    """

    model: str
    tp: int
    engine: str
    changes: tuple[str, ...]
    entries: dict[str, int]
    seconds: float | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `audit --baseline FILE --json`. seconds: of all that are known, together."""

    schema: int = 1
    exit_code: int
    baseline: str
    baseline_key: str
    version_key: str
    changes: tuple[Change, ...]
    cold: tuple[ColdModel, ...]
    seconds: float


def audit_baseline(
    path: Path,
    launches: Sequence[Launch],
    vector: VersionVector,
    get_vector: Callable[[Launch], VersionVector],
    *,
    json_output: bool = False,
) -> int:
    """Print which models this host's vector turns cold. Returns 0 if none, 1 if any.

    vector: of all launches together, as the baseline's is; get_vector: of one. Raises UsageError.
    """
    found = compare(read_baseline(path), path, launches, vector, get_vector)
    out = DataOutput(sys.stdout)
    if json_output:
        out.line(encode_json(found).decode())
    else:
        for line in _render(found):
            out.line(get_printable(line))
    return found.exit_code


def compare(
    baseline: Baseline,
    path: Path,
    launches: Sequence[Launch],
    vector: VersionVector,
    get_vector: Callable[[Launch], VersionVector],
) -> Comparison:
    """A model is turned cold by a changed ingredient that its own vector has, or lost."""
    changes = baseline.vector.diff(vector)
    cold = []
    for launch in launches:
        own = {each.name for each in get_vector(launch).ingredients}
        touching = [each for each in changes if each.name in own or _is_lost(each)]
        if touching:
            cold.append(_make_cold(launch, touching, _find_model(baseline, launch)))
    return Comparison(
        exit_code=EXIT_FAILED if cold else EXIT_OK,
        baseline=str(path),
        baseline_key=baseline.version_key,
        version_key=vector.key,
        changes=tuple(changes),
        cold=tuple(cold),
        seconds=round(sum(each.seconds or 0.0 for each in cold), 3),
    )


def _is_lost(change: Change) -> bool:
    """An ingredient that was and is not named now, and that is no single launch's."""
    return change.new is None and not change.name.startswith(("engine:", "source:"))


def _find_model(baseline: Baseline, launch: Launch) -> BaselineModel | None:
    """The same launch, else the same model at the same size with other arguments."""
    key = make_launch_key(launch)
    same = [each for each in baseline.models if each.launch_key == key]
    same += [each for each in baseline.models if (each.model, each.tp) == (launch.model, launch.tp)]
    return same[0] if same else None


def _make_cold(launch: Launch, changes: list[Change], last: BaselineModel | None) -> ColdModel:
    touched = {family for change in changes for family in change.families}
    entries = {} if last is None else last.entries
    return ColdModel(
        model=launch.label or launch.model,
        tp=launch.tp,
        engine=launch.engine,
        changes=tuple(change.name for change in changes),
        entries={name: count for name, count in entries.items() if name in touched},
        seconds=None if last is None else last.seconds,
    )


def _render(found: Comparison) -> list[str]:
    if not found.changes:
        return [f"same version vector as {found.baseline} ({found.version_key})"]
    lines = [f"changed     {change}  ({', '.join(change.families)})" for change in found.changes]
    for each in found.cold:
        entries = ", ".join(f"{count} {name}" for name, count in sorted(each.entries.items()))
        last = "no last time known" if each.seconds is None else f"last took {each.seconds:.1f} s"
        lines.append(
            f"cold        {each.model}:{each.tp}: {last}" + (f" ({entries})" * bool(entries))
        )
    lines.append(f"{len(found.cold)} models would be cold, {found.seconds:.1f} s together")
    return lines

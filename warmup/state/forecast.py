"""What a baseline's host had warm and this one would not: the price of a dependency bump."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from warmup.launch.api import Launch
from warmup.state.baseline import Baseline, BaselineModel
from warmup.state.version_vector import Change, VersionVector
from warmup.words.errors import EXIT_FAILED, EXIT_OK


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
    """The document of `forecast BASELINE --json`. seconds: of all that are known, together."""

    schema: int = 1
    exit_code: int
    baseline: str
    baseline_key: str
    version_key: str
    changes: tuple[Change, ...]
    cold: tuple[ColdModel, ...]
    seconds: float


def compare(
    baseline: Baseline,
    path: Path,
    launches: Sequence[Launch],
    vector: VersionVector,
    get_vector: Callable[[Launch], VersionVector],
) -> Comparison:
    """A model is turned cold by a changed ingredient that its own vector has, or lost."""
    vector.require_read("this host cannot be compared with the baseline")
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
    """An ingredient that was and is not named now, and that does not belong to a single launch."""
    return change.new is None and not change.name.startswith(("engine:", "source:"))


def _find_model(baseline: Baseline, launch: Launch) -> BaselineModel | None:
    """The same launch, else the same model at the same size with other arguments."""
    key = launch.key
    same = [each for each in baseline.models if each.launch_key == key]
    same += [each for each in baseline.models if (each.model, each.tp) == (launch.model, launch.tp)]
    return same[0] if same else None


def _make_cold(launch: Launch, changes: list[Change], last: BaselineModel | None) -> ColdModel:
    touched = {family for change in changes for family in change.families}
    entries = {} if last is None else last.entries
    return ColdModel(
        model=launch.label,
        tp=launch.tp,
        engine=launch.engine,
        changes=tuple(change.name for change in changes),
        entries={name: count for name, count in entries.items() if name in touched},
        seconds=None if last is None else last.seconds,
    )

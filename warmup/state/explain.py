"""Why a launch is cold: which ingredient or argument, old → new, and what went with it;
and how two launches of one model differ, in a user's words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from warmup.launch.api import Launch, LaunchRecord, parse
from warmup.state.check import (
    CheckState,
    MarkerCheck,
    check_launch,
    find_nearest,
    find_shortfall,
)
from warmup.state.home import Home
from warmup.state.marker import Marker
from warmup.state.marker_files import list_markers
from warmup.state.version_vector import Change, VersionVector
from warmup.words.errors import EXIT_FAILED, EXIT_OK

_PLAIN = {
    "engine": "engine",
    "model": "model",
    "tp": "tp",
    "revision": "revision",
    "config": "model configuration",
    "weights": "weights",
    "trust_remote_code": "trust_remote_code",
}


class LaunchChange(msgspec.Struct, frozen=True):
    """One difference. `old` is None for what was added, `new` for what was removed; a flag
    without a value is ""."""

    name: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.name} {self.new} added".replace("  ", " ")
        if self.new is None:
            return f"{self.name} {self.old} removed".replace("  ", " ")
        return f"{self.name} {self.old or '(nothing)'} → {self.new or '(nothing)'}"


def diff_launches(old: LaunchRecord, new: LaunchRecord) -> list[LaunchChange]:
    """What makes the keys differ; [] exactly where they are equal."""
    if old.key == new.key:
        return []
    changes = [
        LaunchChange(words, _text(getattr(old, name)), _text(getattr(new, name)))
        for name, words in _PLAIN.items()
        if getattr(old, name) != getattr(new, name)
    ]
    changes += _diff_names("variable", old.env, new.env)
    changes += _diff_names("argument", _group(old.fallback_args), _group(new.fallback_args))
    changes += _diff_names("command", _group(old.command), _group(new.command))
    # Where nothing was added, removed or changed, the order of a command's words was.
    return changes or [LaunchChange("command", shlex.join(old.command), shlex.join(new.command))]


def _diff_names(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[LaunchChange]:
    return [
        LaunchChange(f"{kind} {name}".rstrip(), old.get(name), new.get(name))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _group(args: Sequence[str]) -> dict[str, str]:
    """Flag → its values as a shell would take them; repetitions are joined by the flag itself."""
    grouped: dict[str, str] = {}
    for name, values in parse(args, "").options:
        said = shlex.join(values)
        grouped[name] = f"{grouped[name]} {name} {said}" if name in grouped else said
    return grouped


def _text(value: object) -> str:
    return "none" if value is None else str(value)


class TouchedChange(msgspec.Struct, frozen=True):
    """An ingredient old → new. entries: of the nearest marker, in the families that it touches."""

    name: str
    old: str | None
    new: str | None
    families: tuple[str, ...]
    entries: dict[str, int]


class Nearest(msgspec.Struct, frozen=True):
    """The earlier marker that this launch is compared with. seconds: what it took, cold."""

    path: str
    created: str
    version_key: str
    launch_key: str
    entries: dict[str, int]
    seconds: float


class FileProblem(msgspec.Struct, frozen=True):
    """A file in the place of one of this launch's markers that is not a good marker."""

    path: str
    kind: str
    reason: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `why --json`.

    check: how its marker was found (`fresh`, `stale`, `dangling`, `missing`, `corrupt`, …).
    changes, launch_changes: against `nearest`. lost_entries, lost_seconds: what went with them, by
    the nearest marker; entries only of the families that the changes touch. target, left_out,
    seed_missed: the marker's own, where it is a seed or began from one.
    """

    schema: int = 1
    exit_code: int
    model: str
    tp: int
    engine: str
    state: Literal["warm", "seeded", "cold"]
    check: CheckState
    reason: str
    marker: str | None
    nearest: Nearest | None
    changes: tuple[TouchedChange, ...]
    launch_changes: tuple[LaunchChange, ...]
    problems: tuple[FileProblem, ...]
    lost_entries: int
    lost_seconds: float
    target: str = ""
    left_out: tuple[str, ...] = ()
    seed_missed: tuple[str, ...] = ()


def explain(
    home: Home, launch: Launch, vector: VersionVector, env: Mapping[str, str]
) -> Explanation:
    """What `why` prints. Reads the home and the caches, changes nothing.

    A marker that holds, but of a warm-up that did less than is asked for now, is cold as well; what
    differs is among the launch's changes then, and nothing is lost.
    """
    check = check_launch(home, launch, vector, env)
    shortfall = None
    if check.is_warm and check.marker is not None:
        shortfall = find_shortfall(check.marker, launch)
    state = get_state(check) if shortfall is None else "cold"
    record, is_kept = launch.record, get_state(check) != "cold"
    nearest = check.marker or _find_other_launch(home, record, vector)
    changes = nearest.vector.diff(vector) if nearest is not None else []
    launch_changes = diff_launches(nearest.launch, record) if nearest is not None else []
    reason = _get_reason(check, launch_changes)
    if shortfall is not None:
        launch_changes.append(LaunchChange(shortfall.name, shortfall.old, shortfall.new))
        reason = shortfall.reason
    return Explanation(
        exit_code=EXIT_OK if state == "warm" else EXIT_FAILED,
        model=launch.label,
        tp=launch.tp,
        engine=launch.engine,
        state=state,
        check=check.state,
        reason=reason,
        marker=str(check.path) if check.is_warm else None,
        nearest=_describe(home, nearest) if nearest is not None else None,
        changes=tuple(_touch(change, nearest) for change in changes),
        launch_changes=tuple(launch_changes),
        problems=tuple(
            FileProblem(str(each.path), each.kind, each.reason) for each in check.problems
        ),
        lost_entries=_count_lost(check, nearest, changes, launch_changes),
        lost_seconds=0.0 if nearest is None or is_kept else nearest.seconds,
        target=check.marker.target if check.marker and is_kept else "",
        left_out=check.marker.left_out if check.marker and is_kept else (),
        seed_missed=check.marker.seed_missed if check.marker and is_kept else (),
    )


def get_state(check: MarkerCheck) -> Literal["warm", "seeded", "cold"]:
    """The user's word for it."""
    if check.state == "seeded":
        return "seeded"
    return "warm" if check.is_warm else "cold"


def _find_other_launch(home: Home, record: LaunchRecord, vector: VersionVector) -> Marker | None:
    """The good marker of the same model whose launch differs least from this one."""
    markers = [
        marker
        for marker in list_markers(home)
        if isinstance(marker, Marker) and marker.launch.model == record.model
    ]
    if not markers:
        return None
    counts = {marker.launch_key: len(diff_launches(marker.launch, record)) for marker in markers}
    fewest = min(counts.values())
    return find_nearest([each for each in markers if counts[each.launch_key] == fewest], vector)


def _get_reason(check: MarkerCheck, launch_changes: Sequence[LaunchChange]) -> str:
    if check.state == "missing" and launch_changes:
        return "the launch differs: " + ", ".join(map(str, launch_changes))
    return check.reason


def _describe(home: Home, marker: Marker) -> Nearest:
    return Nearest(
        path=str(home.markers / marker.file_name),
        created=marker.created,
        version_key=marker.version_key,
        launch_key=marker.launch_key,
        entries={name: family.entries for name, family in marker.families.items()},
        seconds=marker.seconds,
    )


def _touch(change: Change, nearest: Marker | None) -> TouchedChange:
    families = nearest.families if nearest is not None else {}
    entries = {name: families[name].entries for name in change.families if name in families}
    return TouchedChange(change.name, change.old, change.new, change.families, entries)


def _count_lost(
    check: MarkerCheck,
    nearest: Marker | None,
    changes: Sequence[Change],
    launch_changes: Sequence[LaunchChange],
) -> int:
    """Another launch, or a cache that is not what it was, may ask for anything again."""
    if nearest is None or get_state(check) != "cold":
        return 0
    if launch_changes or not changes:
        return nearest.num_entries
    touched = {name for change in changes for name in change.families}
    return sum(family.entries for name, family in nearest.families.items() if name in touched)

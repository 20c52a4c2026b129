"""What a baseline's host had warm and this one would not: the price of a dependency bump.

A baseline is the version vector of one class of runners, committed, with what each model cost:
`key --write-baseline FILE` makes one; `forecast FILE` holds the present host against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from warmup.launch.api import Launch
from warmup.state.home import Home
from warmup.state.marker import Marker
from warmup.state.marker_files import list_markers
from warmup.state.version_vector import Change, Ingredient, VersionVector
from warmup.version import __version__
from warmup.words import encoding
from warmup.words.errors import EXIT_FAILED, EXIT_OK, HostError, UsageError
from warmup.words.output_file import write_output

SCHEMA = 1
MAX_BYTES = 16 << 20


class BaselineModel(msgspec.Struct, frozen=True, kw_only=True):
    """The last warm-up of one launch: `seconds` it took cold, entries of each family."""

    model: str
    tp: int
    engine: str
    launch_key: str
    seconds: float
    entries: dict[str, int]


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    created: str
    tool_version: str
    version_key: str
    ingredients: tuple[Ingredient, ...]
    models: tuple[BaselineModel, ...]

    @property
    def vector(self) -> VersionVector:
        return VersionVector(self.ingredients)


def make_baseline(home: Home, vector: VersionVector) -> Baseline:
    """This host's vector, and the newest good marker of each launch that it does not contradict.

    A marker's own vector names one engine and may lack, or have, a variable more than `vector`,
    which can speak of a whole workflow: what both name must be equal.
    """
    vector.require_read("a baseline cannot be made")
    newest: dict[str, Marker] = {}
    for marker in list_markers(home):
        if isinstance(marker, Marker) and not _contradict(marker.vector, vector):
            known = newest.get(marker.launch_key)
            if known is None or marker.created > known.created:
                newest[marker.launch_key] = marker
    models = [
        BaselineModel(
            model=marker.model,
            tp=marker.tp,
            engine=marker.engine,
            launch_key=marker.launch_key,
            seconds=marker.seconds,
            entries={name: family.entries for name, family in sorted(marker.families.items())},
        )
        for marker in sorted(newest.values(), key=lambda marker: marker.name)
    ]
    return Baseline(
        schema=SCHEMA,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool_version=__version__,
        version_key=vector.key,
        ingredients=vector.ingredients,
        models=tuple(models),
    )


def _contradict(one: VersionVector, other: VersionVector) -> bool:
    return any(None not in (change.old, change.new) for change in one.diff(other))


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write it for people to read and to commit. Raises HostError."""
    try:
        write_output(path, encoding.encode_pretty(baseline))
    except OSError as error:
        raise HostError(
            f"cannot write the baseline {path}", cause=f"{error.strerror} (errno {error.errno})"
        ) from error


def read_baseline(path: Path) -> Baseline:
    """Read it. Raises UsageError: missing, not a baseline, of another schema, edited by hand."""
    try:
        if not path.is_file():
            raise UsageError(f"cannot read the baseline {path}", cause="it is not a file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
        baseline = msgspec.json.decode(data, type=Baseline)
        key = baseline.vector.key
    except OSError as error:
        raise UsageError(f"cannot read the baseline {path}", cause=error.strerror) from error
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise UsageError(
            f"{path} is not a baseline",
            cause=str(error),
            hint="make one with `warmup-ci key --write-baseline FILE`",
        ) from error
    if baseline.schema != SCHEMA:
        raise UsageError(f"{path} has schema {baseline.schema}, this version reads {SCHEMA}")
    if key != baseline.version_key:
        raise UsageError(f"{path}: its version_key is not that of its ingredients")
    return baseline


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
        # Lost is what was and is not named now, and does not belong to a single launch.
        lost = [
            each
            for each in changes
            if each.new is None and not each.name.startswith(("engine:", "source:"))
        ]
        touching = [each for each in changes if each.name in own or each in lost]
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

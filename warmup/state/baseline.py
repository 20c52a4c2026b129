"""A baseline: the version vector of one class of runners, committed, with what each model cost.

`key --write-baseline FILE` makes one; `forecast FILE` holds the present host against it.
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import msgspec

from warmup.state.home import Home
from warmup.state.marker import Marker
from warmup.state.marker_files import list_markers
from warmup.state.version_vector import Ingredient, VersionVector
from warmup.version import __version__
from warmup.words import encoding
from warmup.words.errors import HostError, UsageError
from warmup.words.files import write_atomic

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
        write_atomic(path, encoding.encode_pretty(baseline), mode=0o644)
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

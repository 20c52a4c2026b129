"""Markers: files that say one model was warmed with one launch under one version vector.

`markers/<model slug>--tp<k>--<launch key>--<version key>.json`, written last and atomically
(design.md section 5). Reading one never raises, blocks or deletes: what is wrong with it is data.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import msgspec

from warmup.caches.manifest import FamilySummary
from warmup.launch.launch import Launch
from warmup.launch.record import LaunchRecord
from warmup.state.home import Home
from warmup.state.version_vector import Ingredient, VersionVector
from warmup.version import __version__
from warmup.words import encoding
from warmup.words.errors import HostError
from warmup.words.files import write_atomic

SCHEMA = 1
MAX_BYTES = 4 << 20  # a marker has some 20 KiB; more is no marker, and is not read into memory

# `kernels`: DeepGEMM's kernels were compiled from the config alone; no server was started.
WarmedBy = Literal["server", "kernels"]
ProblemKind = Literal["corrupt", "foreign", "future", "unreadable"]


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known of one warm-up. `seconds`, `phases`: what it took. `created`: UTC, ISO 8601.

    environment: variables given to the server for this launch, without secrets. version_vector:
    the ingredients. families: what the manifest binds. manifest: its file name in
    `manifests/`; another one under that name, by manifest_sha256, is not this warm-up's.
    checksum: sha256 of the canonical JSON of all other fields.
    """

    schema: int = SCHEMA
    model: str
    revision: str | None
    engine: str
    engine_version: str | None
    argv: tuple[str, ...]
    tp: int
    dp: int
    ep: int
    cfg: int
    environment: dict[str, str]
    launch: LaunchRecord
    launch_key: str
    version_vector: tuple[Ingredient, ...]
    version_key: str
    families: dict[str, FamilySummary]
    manifest: str
    manifest_sha256: str
    warmed_by: WarmedBy
    proven: bool
    phases: dict[str, float]
    seconds: float
    created: str
    tool_version: str
    checksum: str = ""

    @property
    def vector(self) -> VersionVector:
        return VersionVector(self.version_vector)

    @property
    def name(self) -> str:
        """The file's name without `.json`."""
        return _make_name(self.model, self.tp, self.launch_key, self.version_key)

    @property
    def num_entries(self) -> int:
        return sum(family.entries for family in self.families.values())


class MarkerProblem(msgspec.Struct, frozen=True):
    """Why a file under `markers/` is not to be trusted; `reason` is one line, without the path."""

    path: Path
    kind: ProblemKind
    reason: str


def get_slug(model: str) -> str:
    """A model's name as a part of a file name: `org/name` → `org--name`, a folder's last part."""
    named = model.rstrip("/").rpartition("/")[2] if model.startswith("/") else model
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", named.replace("/", "--")).strip("-.")
    return slug[-100:].lstrip("-.") or "model"


def get_marker_name(launch: Launch, version_key: str) -> str:
    """`<model slug>--tp<k>--<launch key>--<version key>`; `.json` is added by both users of it."""
    return _make_name(launch.model, launch.tp, launch.key, version_key)


def make_marker(
    launch: Launch,
    vector: VersionVector,
    *,
    argv: tuple[str, ...],
    engine_version: str | None,
    families: dict[str, FamilySummary],
    manifest: bytes,
    phases: dict[str, float],
    seconds: float,
    proven: bool,
    warmed_by: WarmedBy = "server",
) -> Marker:
    """The marker of a warm-up that has just succeeded.

    manifest: the bytes to be written under the marker's own name in `manifests/`.
    """
    record, sizes = launch.record, launch.record.sizes
    name = _make_name(launch.model, launch.tp, record.key, vector.key)
    return Marker(
        model=encoding.clean(launch.model),
        revision=launch.revision,
        engine=launch.engine,
        engine_version=engine_version,
        argv=tuple(encoding.clean(argv)),
        tp=sizes.tp,
        dp=sizes.dp,
        ep=sizes.ep,
        cfg=sizes.cfg,
        environment=record.env,
        launch=record,
        launch_key=record.key,
        version_vector=vector.ingredients,
        version_key=vector.key,
        families=families,
        manifest=f"{name}.json",
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
        warmed_by=warmed_by,
        proven=proven,
        phases=phases,
        seconds=seconds,
        created=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        tool_version=__version__,
    )


def encode_marker(marker: Marker) -> bytes:
    """The file's bytes: indented canonical JSON, with the checksum filled in."""
    data = msgspec.to_builtins(marker)
    data.pop("checksum")
    return encoding.encode_pretty({**data, "checksum": encoding.get_digest(data)})


def write_marker(home: Home, marker: Marker) -> Path:
    """Write it under its own name, atomically. Raises HostError (disk full, read-only, …)."""
    path = home.markers / f"{marker.name}.json"
    try:
        write_atomic(path, encode_marker(marker))
    except OSError as error:
        hint = "make the home writable, or set WARMUP_CI_HOME to a folder that is"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "free some space (`warmup-ci gc` may help) and run again"
        raise HostError(
            f"cannot write the marker {path}",
            cause=f"{error.strerror} (errno {error.errno})",
            hint=hint,
        ) from error
    return path


def read_marker(path: Path) -> Marker | MarkerProblem:
    """The marker in a file, or what is wrong with it."""
    data = _read(path)
    if isinstance(data, MarkerProblem):
        return data
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        what = "is empty" if not data.strip() else f"holds no JSON ({error})"
        return MarkerProblem(path, "corrupt", f"it {what}")
    if not isinstance(found, dict) or type(found.get("schema")) is not int:
        return MarkerProblem(path, "foreign", "it is JSON, but no marker: it names no schema")
    if found["schema"] > SCHEMA:
        reason = f"it has schema {found['schema']}, this version reads {SCHEMA}"
        return MarkerProblem(path, "future", reason)
    if found["schema"] < SCHEMA or "checksum" not in found:
        return MarkerProblem(path, "foreign", "it is JSON, but no marker of ours")
    return _check(path, data, found)


def list_markers(home: Home) -> list[Marker | MarkerProblem]:
    """Every `*.json` under `markers/`, by file name; [] where there is no such folder."""
    return [read_marker(path) for path in _list_files(home)]


def find_markers(home: Home, launch_key: str) -> tuple[list[Marker], list[MarkerProblem]]:
    """The markers of one launch, newest first, and what is wrong with the others of that name."""
    each = [read_marker(path) for path in _list_files(home, f"--{launch_key}--")]
    markers = [marker for marker in each if isinstance(marker, Marker)]
    problems = [marker for marker in each if isinstance(marker, MarkerProblem)]
    return sorted(markers, key=lambda marker: marker.created, reverse=True), problems


def _make_name(model: str, tp: int, launch_key: str, version_key: str) -> str:
    return f"{get_slug(model)}--tp{tp}--{launch_key}--{version_key}"


def _list_files(home: Home, part: str = "") -> list[Path]:
    try:
        names = sorted(os.listdir(home.markers))  # noqa: PTH208 - twice as fast as iterdir
    except OSError:
        return []
    return [
        home.markers / name
        for name in names
        if name.endswith(".json") and part in name and not name.startswith(".")
    ]


def _read(path: Path) -> bytes | MarkerProblem:
    """A regular file's bytes. Looked at before it is opened: opening a device can do something."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return MarkerProblem(path, "foreign", "it is no regular file")
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:  # noqa: PTH123 - of a descriptor
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return MarkerProblem(path, "unreadable", f"it cannot be read: {error.strerror}")
    if len(data) > MAX_BYTES:
        return MarkerProblem(path, "foreign", f"it has more than {MAX_BYTES} bytes")
    return data


def _check(path: Path, data: bytes, found: dict[str, object]) -> Marker | MarkerProblem:
    """Checksum, then exact bytes: a flip that JSON does not mind (`1e9`, `1E9`) counts too."""
    without = {name: value for name, value in found.items() if name != "checksum"}
    try:
        digest, whole = encoding.get_digest(without), encoding.encode_pretty(found)
    except (RecursionError, OverflowError, ValueError) as error:
        return MarkerProblem(path, "corrupt", f"it holds what no marker holds ({error})")
    if found["checksum"] != digest or whole != data:
        return MarkerProblem(path, "corrupt", "its checksum does not hold")
    try:
        marker = msgspec.convert(found, Marker)
    except msgspec.ValidationError as error:
        return MarkerProblem(path, "foreign", f"it is no marker of ours: {error}")
    keys = (marker.version_key, marker.launch_key, marker.manifest)
    if keys != (marker.vector.key, marker.launch.key, f"{marker.name}.json"):
        return MarkerProblem(path, "corrupt", "its keys are not those of what it lists")
    if path.name != f"{marker.name}.json":
        return MarkerProblem(path, "foreign", f"its contents are those of {marker.name}")
    return marker

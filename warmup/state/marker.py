"""Markers: files that say one model was warmed with one launch under one version vector.

`markers/<model slug>--tp<k>--<launch key>--<version key>.json`, written last and atomically
(design.md section 5). Reading one never raises, blocks or deletes: what is wrong with it is data.
"""

from __future__ import annotations

import errno
import hashlib
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import msgspec

from warmup.caches.manifest import FamilySummary
from warmup.launch.launch import Launch
from warmup.launch.record import LaunchRecord
from warmup.state.home import Home
from warmup.state.version_vector import Ingredient, VersionVector
from warmup.version import __version__
from warmup.words import encoding
from warmup.words.errors import HostError
from warmup.words.files import Folder
from warmup.words.secrets import Redactor

SCHEMA = 2  # 1 wrote model, revision, engine, tp and environment beside `launch` as well
MAX_BYTES = 4 << 20  # a marker has some 20 KiB; more is not one, and is not read into memory

# `kernels`: DeepGEMM's kernels were compiled from the config alone; no server was started.
WarmedBy = Literal["server", "kernels"]
ProblemKind = Literal["corrupt", "foreign", "outdated", "future", "unreadable"]


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known of one warm-up. `seconds`, `phases`: what it took. `created`: UTC, ISO 8601.

    launch: what its key hashes; env without secrets. dp, ep, cfg: parallel sizes beside launch.tp.
    version_vector: the ingredients. families: what the manifest binds. manifest: its file name in
    `manifests/`; another one under that name, by manifest_sha256, is not this warm-up's.
    checksum: sha256 of the canonical JSON of all other fields.
    """

    schema: int = SCHEMA
    launch: LaunchRecord
    launch_key: str
    engine_version: str | None
    argv: tuple[str, ...]
    dp: int
    ep: int
    cfg: int
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
    def model(self) -> str:
        return self.launch.model

    @property
    def tp(self) -> int:
        return self.launch.tp

    @property
    def engine(self) -> str:
        return self.launch.engine

    @property
    def name(self) -> str:
        """The file's name without `.json`."""
        return _make_name(self.model, self.tp, self.launch_key, self.version_key)

    @property
    def file_name(self) -> str:
        """Its file's in `markers/`, and its manifest's in `manifests/`."""
        return f"{self.name}.json"

    @property
    def num_entries(self) -> int:
        return sum(family.entries for family in self.families.values())


class MarkerProblem(msgspec.Struct, frozen=True):
    """Why a file under `markers/` is not to be trusted; `reason` is one line, without the path.

    outdated: a marker of ours of an earlier schema, whole.
    """

    path: Path
    kind: ProblemKind
    reason: str

    @property
    def keys(self) -> tuple[str, str] | None:
        """Launch key and version key, as its file's name says them."""
        return _parse_keys(self.path.name)


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

    argv: the server's command line; its secrets are left out here. manifest: the bytes to be
    written under the marker's own name in `manifests/`.
    """
    record, sizes = launch.record, launch.record.sizes
    name = _make_name(launch.model, launch.tp, record.key, vector.key)
    redactor = Redactor.from_environment(launch.env, argvs=(argv,))
    return Marker(
        launch=record,
        launch_key=record.key,
        engine_version=engine_version,
        argv=redactor.redact_argv(encoding.clean(argv)),
        dp=sizes.dp,
        ep=sizes.ep,
        cfg=sizes.cfg,
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
    path = home.markers / marker.file_name
    try:
        folder = home.find_folder("markers")
        if folder is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        folder.write_atomic(marker.file_name, encode_marker(marker))
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


def read_marker(folder: Folder, name: str) -> Marker | MarkerProblem:
    """The marker in a file of a folder, or what is wrong with it."""
    path = folder.path / name
    try:
        data = folder.read(name, MAX_BYTES)
    except OSError as error:
        return _get_refusal(path, error)
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        what = "is empty" if not data.strip() else f"is not JSON ({error})"
        return MarkerProblem(path, "corrupt", f"it {what}")
    if not isinstance(found, dict) or type(found.get("schema")) is not int:
        return MarkerProblem(path, "foreign", "it is JSON, but not a marker: it names no schema")
    if found["schema"] > SCHEMA:
        reason = f"it has schema {found['schema']}, this version reads {SCHEMA}"
        return MarkerProblem(path, "future", reason)
    if found["schema"] < 1 or "checksum" not in found:
        return MarkerProblem(path, "foreign", "it is JSON, but not a marker of ours")
    return _check(path, data, found)


def list_markers(home: Home) -> list[Marker | MarkerProblem]:
    """Every `*.json` under `markers/`, by file name; [] where there is no such folder.

    Raises HostError for a home that is not safe to use.
    """
    folder = home.find_folder("markers")
    if folder is None:
        return []
    return [read_marker(folder, name) for name in _list_names(folder)]


def find_markers(home: Home, launch_key: str) -> tuple[list[Marker], list[MarkerProblem]]:
    """The markers of one launch, newest first, and what is wrong with the others of that name.

    Raises HostError for a home that is not safe to use.
    """
    folder = home.find_folder("markers")
    if folder is None:
        return [], []
    part = f"--{launch_key}--"  # of 100 000 names few are parsed
    names = [name for name in _list_names(folder) if part in name]
    each = [read_marker(folder, name) for name in names if _has_key(name, launch_key)]
    markers = [marker for marker in each if isinstance(marker, Marker)]
    problems = [marker for marker in each if isinstance(marker, MarkerProblem)]
    return sorted(markers, key=lambda marker: marker.created, reverse=True), problems


def _make_name(model: str, tp: int, launch_key: str, version_key: str) -> str:
    return f"{get_slug(model)}--tp{tp}--{launch_key}--{version_key}"


def _parse_keys(file_name: str) -> tuple[str, str] | None:
    """What `_make_name` put last: launch key and version key."""
    parts = file_name.removesuffix(".json").rsplit("--", 2)
    return (parts[1], parts[2]) if len(parts) == 3 else None


def _has_key(file_name: str, launch_key: str) -> bool:
    keys = _parse_keys(file_name)
    return keys is not None and keys[0] == launch_key


def _list_names(folder: Folder) -> list[str]:
    try:
        names = folder.list_names()
    except OSError as error:
        raise HostError(
            f"cannot read {folder.path}", cause=f"{error.strerror} (errno {error.errno})"
        ) from error
    return [name for name in names if name.endswith(".json") and not name.startswith(".")]


def _get_refusal(path: Path, error: OSError) -> MarkerProblem:
    """EINVAL, EFBIG: `open_regular`'s and `read_regular`'s. ENXIO: a socket."""
    if error.errno in (errno.EINVAL, errno.ENXIO):
        return MarkerProblem(path, "foreign", "it is not a regular file")
    if error.errno == errno.ELOOP:
        return MarkerProblem(path, "foreign", "it is a symbolic link")
    if error.errno == errno.EFBIG:
        return MarkerProblem(path, "foreign", f"it has more than {MAX_BYTES} bytes")
    return MarkerProblem(path, "unreadable", f"it cannot be read: {error.strerror}")


def _check(path: Path, data: bytes, found: dict[str, Any]) -> Marker | MarkerProblem:
    """Checksum, then exact bytes: a flip that JSON does not mind (`1e9`, `1E9`) counts too."""
    without = {name: value for name, value in found.items() if name != "checksum"}
    try:
        digest, whole = encoding.get_digest(without), encoding.encode_pretty(found)
    except (RecursionError, OverflowError, ValueError) as error:
        return MarkerProblem(path, "corrupt", f"it holds what no marker holds ({error})")
    if found["checksum"] != digest or whole != data:
        return MarkerProblem(path, "corrupt", "its checksum does not hold")
    if found["schema"] < SCHEMA:
        reason = f"an earlier version wrote it (schema {found['schema']}, this one {SCHEMA})"
        return MarkerProblem(path, "outdated", reason)
    try:
        marker = msgspec.convert(found, Marker)
    except msgspec.ValidationError as error:
        return MarkerProblem(path, "foreign", f"it is not a marker of ours: {error}")
    keys = (marker.version_key, marker.launch_key, marker.manifest)
    if keys != (marker.vector.key, marker.launch.key, marker.file_name):
        return MarkerProblem(path, "corrupt", "its keys are not those of what it lists")
    if path.name != marker.file_name:
        return MarkerProblem(path, "foreign", f"its contents are those of {marker.name}")
    return marker

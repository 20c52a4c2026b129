"""Markers as files: written last and atomically, read without ever raising, blocking or deleting:
what is wrong with a file is data. Only a home that is not safe to use is a HostError.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, Literal

import msgspec

from warmup.state.home import Home
from warmup.state.marker import SCHEMA, Marker, encode_marker
from warmup.words import encoding
from warmup.words.errors import HostError
from warmup.words.files import Folder

MAX_BYTES = 4 << 20  # a marker has some 20 KiB; more is not one, and is not read into memory

ProblemKind = Literal["corrupt", "foreign", "outdated", "future", "unreadable"]


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
    each = [
        read_marker(folder, name)
        for name in names
        if (keys := _parse_keys(name)) is not None and keys[0] == launch_key
    ]
    markers = [marker for marker in each if isinstance(marker, Marker)]
    problems = [marker for marker in each if isinstance(marker, MarkerProblem)]
    return sorted(markers, key=lambda marker: marker.created, reverse=True), problems


def _parse_keys(file_name: str) -> tuple[str, str] | None:
    """What `_make_name` put last: launch key and version key."""
    parts = file_name.removesuffix(".json").rsplit("--", 2)
    return (parts[1], parts[2]) if len(parts) == 3 else None


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

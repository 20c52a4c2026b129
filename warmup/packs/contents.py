"""What a pack says of itself: `.warmup-ci/manifest.json`, its first and smallest layer.

Read back as hostile: names stay below their family's folder, counts and sizes are bounded.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from warmup.packs.oci import Digest
from warmup.state.version_vector import Ingredient, VersionVector
from warmup.words import encoding
from warmup.words.errors import IntegrityError
from warmup.words.names import FAMILY_NAMES

SCHEMA = 1
PATH = ".warmup-ci/manifest.json"
MAX_BYTES = 256 << 20  # of the manifest: about a million files
MAX_FILES = 1_000_000
MAX_TOTAL_BYTES = 1 << 40
MAX_DEPTH = 32
MAX_NAME_BYTES = 4096

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class PackFile(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """path: below the family's folder, as `escape.to_text` writes names. mtime_ns: since 1970."""

    path: str
    size: Count
    sha256: _Sha256
    mtime_ns: int
    executable: bool = False


class PackEntry(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One cache entry. path: of its folder, or of the file that it is. kernel: for people."""

    path: str
    kernel: str
    files: list[PackFile]


class PackFamily(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """folder: below the cache root, where this family's strongest root lies under `--cache-root`.

    diff_id: digest of its layer before compression. roots: where the entries lay when they were
    packed, which paths inside them may still name.
    """

    folder: str
    diff_id: Digest
    roots: list[str]
    entries: list[PackEntry]


class PackLaunch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One warm-up whose entries are in the pack. entries: family → paths of those it needs.

    seconds: what it took cold. marker: the marker's own data, of which one is derived where the
    vector is the same; it is never trusted as it is.
    """

    model: str
    tp: int
    engine: str
    launch_key: str
    seconds: float
    proven: bool
    warmed_by: str
    entries: dict[str, list[str]]


class PackManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """created: UTC, ISO 8601. families: by name. launches: what the pack makes warm."""

    schema: int = SCHEMA
    created: str
    tool_version: str
    version_key: str
    ingredients: list[Ingredient]
    launches: list[PackLaunch]
    families: dict[str, PackFamily]

    @property
    def vector(self) -> VersionVector:
        return VersionVector(tuple(self.ingredients))

    @property
    def num_files(self) -> int:
        return sum(len(e.files) for f in self.families.values() for e in f.entries)

    @property
    def total_bytes(self) -> int:
        return sum(file.size for f in self.families.values() for e in f.entries for file in e.files)


def encode_contents(manifest: PackManifest) -> bytes:
    return encoding.encode(manifest) + b"\n"


def decode_contents(data: bytes) -> PackManifest:
    """Raises IntegrityError for what `encode_contents` cannot have made."""
    if len(data) > MAX_BYTES:
        raise _refuse(f"its manifest has {len(data)} bytes, more than {MAX_BYTES}")
    try:
        found = msgspec.json.decode(data)
        schema = found.get("schema") if isinstance(found, dict) else None
        if isinstance(schema, int) and schema > SCHEMA:
            raise IntegrityError(
                "this pack is of a newer version",
                cause=f"it has schema {schema}, this version reads {SCHEMA}",
                hint="upgrade warmup-ci",
            )
        manifest = msgspec.convert(found, PackManifest)
        key = manifest.vector.key
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, ValueError) as error:
        raise _refuse(f"its manifest cannot be read: {error}") from None
    if key != manifest.version_key:
        raise _refuse("its version key is not that of its ingredients")
    _check_names(manifest)
    return manifest


def _check_names(manifest: PackManifest) -> None:
    if manifest.num_files > MAX_FILES:
        raise _refuse(f"it lists {manifest.num_files} files, more than {MAX_FILES}")
    if manifest.total_bytes > MAX_TOTAL_BYTES:
        raise _refuse(f"its files have {manifest.total_bytes} bytes, more than {MAX_TOTAL_BYTES}")
    for name, family in manifest.families.items():
        if name not in FAMILY_NAMES:
            raise _refuse(f"unknown family {name!r}")
        if family.folder.split("/")[0] != name:
            raise _refuse(f"family {name} lies in {family.folder!r}")
        seen: set[str] = set()
        for path in _list_paths(family):
            problem = find_name_problem(path)
            if problem is not None:
                raise _refuse(f"{path!r} {problem}")
            if path in seen:
                raise _refuse(f"{path!r} is listed twice")
            seen.add(path)


def _list_paths(family: PackFamily) -> list[str]:
    return [f"{family.folder}/{file.path}" for entry in family.entries for file in entry.files]


def find_name_problem(path: str) -> str | None:
    """Why a relative path must not be written; None for one that stays below where it starts."""
    parts = path.split("/")
    if path.startswith("/") or "\0" in path:
        return "is not a relative path"
    if any(part in ("", ".", "..") for part in parts):
        return "leads outside its root"
    if len(parts) > MAX_DEPTH:
        return f"is deeper than {MAX_DEPTH} folders"
    if len(path.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    return None


def _refuse(cause: str) -> IntegrityError:
    return IntegrityError("pack refused", cause=cause)

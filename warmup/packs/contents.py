"""What a pack says of itself: `.warmup-ci/manifest.json`, its first and smallest layer.

Read back as hostile: names stay below their family's folder, counts and sizes are bounded.
"""

from __future__ import annotations

import os
from typing import Annotated

import msgspec

from warmup.packs.oci import Digest
from warmup.state.api import Ingredient, VersionVector
from warmup.words import encoding
from warmup.words.errors import IntegrityError
from warmup.words.escape import from_text
from warmup.words.names import FAMILY_NAMES

SCHEMA = 1
PATH = ".warmup-ci/manifest.json"
MAX_BYTES = 256 << 20  # of the manifest: about a million files
MAX_FILES = 1_000_000
MAX_TOTAL_BYTES = 1 << 40
MAX_DEPTH = 32
MAX_NAME_BYTES = 4096
_MAX_PART_BYTES = 255  # of one name, as file systems have it (NAME_MAX)

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class PackFile(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """path: below the family's folder, as `escape.to_text` writes names. mtime_ns: since 1970."""

    path: str
    size: Count
    sha256: _Sha256
    mtime_ns: _Time
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

    ingredients: the version vector of this launch. seconds: what it took cold. proven, warmed_by:
    what the signer's marker said, as ladder and skipped_steps.
    """

    model: str
    tp: int
    engine: str
    launch_key: str
    engine_version: str | None
    ingredients: list[Ingredient]
    seconds: _Seconds
    proven: bool
    warmed_by: str
    ladder: str = "off"
    skipped_steps: list[str] = []
    entries: dict[str, list[str]]

    @property
    def name(self) -> str:
        return f"{self.model}:{self.tp}"

    @property
    def vector(self) -> VersionVector:
        return VersionVector(tuple(self.ingredients))


class PackManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """created: of its newest marker; UTC, ISO 8601. launches: what it makes warm.

    version_key, ingredients: of all launches together.
    """

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
        _ = [each.vector for each in manifest.launches]  # checks them
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
        if family.folder.split("/")[0] != name or find_name_problem(family.folder):
            raise _refuse(f"family {name} lies in {family.folder!r}")
        _check_paths(family)
    for launch in manifest.launches:
        for name, paths in launch.entries.items():
            held = manifest.families.get(name)
            known = {entry.path for entry in held.entries} if held else set()
            if not known.issuperset(paths):
                raise _refuse(f"{launch.name} needs entries of {name} that it does not hold")


def _check_paths(family: PackFamily) -> None:
    seen: set[str] = set()
    if len({entry.path for entry in family.entries}) < len(family.entries):
        raise _refuse(f"an entry of {family.folder} is listed twice")
    for entry in family.entries:
        if not entry.files:
            raise _refuse(f"the entry {entry.path!r:.200} has no files")
        for file in entry.files:
            path = f"{family.folder}/{file.path}"
            problem = find_name_problem(path)
            if problem is not None:
                raise _refuse(f"{path!r} {problem}")
            if file.path != entry.path and not file.path.startswith(f"{entry.path}/"):
                raise _refuse(f"{path!r} is not a file of its entry {entry.path!r}")
            if path in seen:
                raise _refuse(f"{path!r} is listed twice")
            seen.add(path)
    for path in seen:
        parts = path.split("/")
        if any("/".join(parts[:depth]) in seen for depth in range(1, len(parts))):
            raise _refuse(f"{path!r} lies in what is a file")


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
    if any(len(os.fsencode(from_text(part))) > _MAX_PART_BYTES for part in parts):
        return f"has a name of more than {_MAX_PART_BYTES} bytes"
    return None


def _refuse(cause: str) -> IntegrityError:
    return IntegrityError("pack refused", cause=cause)

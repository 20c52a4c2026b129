"""An image of the Model Cache Vault, read as a pack: what it holds, and nobody's warm-up.

Such an image lists no digests of its files: they are those of the layer, whose digest is the
image's. It names targets, no version vector, and no launch: its entries are a seed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from warmup.caches.api import get_family
from warmup.packs.contents import MAX_TOTAL_BYTES, PackEntry, PackFamily, PackFile, PackManifest
from warmup.packs.mcv import KINDS, Kind
from warmup.packs.oci import ImageConfig
from warmup.packs.unpack import list_layer
from warmup.state.api import Ingredient, VersionVector
from warmup.words.errors import IntegrityError
from warmup.words.escape import from_text, to_text

_SLACK_BYTES = 1 << 30  # headers and padding of a million files
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOTAL_BYTES)]


class _Target(msgspec.Struct, frozen=True):
    backend: str
    arch: str


class _Summary(msgspec.Struct, frozen=True):
    targets: list[_Target] | None = None


def find_kind(config: ImageConfig) -> Kind | None:
    """Of which kind this image's config says to be; None where it says nothing of the sort."""
    labels = config.labels
    return next((kind for kind in KINDS if kind.get_label("cache-size-bytes") in labels), None)


def read_foreign(
    config: ImageConfig, kind: Kind, chunks: Iterator[bytes]
) -> tuple[PackManifest, dict[str, PackFile]]:
    """chunks: of its one layer, checked. Returns what it holds of the family, and its other files,
    by their path in the layer. Raises IntegrityError."""
    size = _read_label(config, kind.get_label("cache-size-bytes"), _Count)
    summary = _read_label(config, kind.get_label("summary"), _Summary)
    files = list_layer(chunks, size + _SLACK_BYTES)
    inside, payload = f"{kind.cache}/", f"io.{kind.name}.cache/"
    got = sum(file.size for file in files if file.path.startswith(payload))
    if got != size:
        cause = f"its label says {size} bytes of cache, its layer has {got}"
        raise IntegrityError("image refused", cause=cause)
    entries, others = _list_entries(kind, files, inside)
    family = PackFamily(kind.cache, config.rootfs.diff_ids[0], [], entries)
    ingredients = list(_list_ingredients(summary))
    contents = PackManifest(
        created=config.created,
        tool_version="mcv",
        version_key=VersionVector(tuple(ingredients)).key,
        ingredients=ingredients,
        launches=[],
        families={kind.name: family},
    )
    return contents, others


def _list_entries(
    kind: Kind, files: list[PackFile], inside: str
) -> tuple[list[PackEntry], dict[str, PackFile]]:
    family = get_family(kind.name)
    found: dict[str, list[PackFile]] = {}
    others = {}
    for file in files:
        path = file.path.removeprefix(inside)
        entry = family.find_entry(from_text(path)) if path != file.path else None
        if entry is None:
            others[file.path] = file
        else:
            moved = PackFile(path, file.size, file.sha256, file.mtime_ns, file.executable)
            found.setdefault(to_text(entry), []).append(moved)
    entries = []
    for path, listed in sorted(found.items()):
        names = [each.path[len(path) + 1 :] for each in listed]
        kernel = family.get_kernel(Path("/nonexistent"), path, names)
        entries.append(PackEntry(path, to_text(kernel), listed))
    return entries, others


def _list_ingredients(summary: _Summary) -> Iterator[Ingredient]:
    """The GPU, where all of it is for one."""
    names = {(each.backend, each.arch.removeprefix("sm_")) for each in summary.targets or ()}
    if len(names) == 1:
        backend, arch = names.pop()
        digits = arch.rstrip("af")
        is_cuda = backend == "cuda" and digits.isdecimal() and len(digits) > 1
        value = f"{digits[:-1]}.{digits[-1]}" if is_cuda else f"{backend} {arch}"
        yield Ingredient("compute_capability", value)


def _read_label(config: ImageConfig, name: str, kind: Any) -> Any:
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        return msgspec.json.decode(config.labels.get(name, ""), type=kind)
    raise IntegrityError("image refused", cause=f"its label {name} cannot be read")

"""Markers: what says that one model was warmed with one launch under one version vector.

`markers/<model slug>--tp<k>--<launch key>--<version key>.json` (design.md section 5).
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timezone
from typing import Annotated

import msgspec

from warmup.caches.api import FamilySummary
from warmup.launch.api import Launch, LaunchRecord
from warmup.state.version_vector import Ingredient, VersionVector
from warmup.version import __version__
from warmup.words import encoding
from warmup.words.secrets import Redactor

SCHEMA = 2  # 1 wrote model, revision, engine, tp and environment beside `launch` as well

# `kernels`: DeepGEMM's kernels were compiled from the config alone; no server was started.
# `target`: a server ran on a null device. Such a marker is a seed and never says warm.
# `pack@DIGEST`: a server warmed it on another machine of the same vector, and the pack of that
# digest brought every file, each of its sha256.
PACK_PREFIX = "pack@"
WarmedBy = Annotated[
    str, msgspec.Meta(pattern=r"^(server|kernels|target|pack@sha256:[0-9a-f]{64})$")
]


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known of one warm-up. `seconds`, `phases`: what it took. `created`: UTC, ISO 8601.

    launch: what its key hashes; env without secrets. dp, ep, cfg: parallel sizes beside launch.tp.
    version_vector: the ingredients. families: what the manifest binds. manifest: its file name in
    `manifests/`; another one under that name, by manifest_sha256, is not this warm-up's.
    target: the GPUs (`h200x8`) that a seed was made for, or that the seed was which this warm-up
    began from; left_out: autotuners' results that the seed does without; seed_missed: what the
    first boot compiled although there was a seed.
    ladder: what was climbed, as `Launch.climbs` has it; skipped_steps: for want of time.
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
    target: str = ""
    left_out: tuple[str, ...] = ()
    seed_missed: tuple[str, ...] = ()
    ladder: str = "off"
    skipped_steps: tuple[str, ...] = ()
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
    def is_seed(self) -> bool:
        return self.warmed_by == "target"

    @property
    def was_pulled(self) -> bool:
        return self.warmed_by.startswith(PACK_PREFIX)

    @property
    def num_entries(self) -> int:
        return sum(family.entries for family in self.families.values())


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
    target: str = "",
    left_out: tuple[str, ...] = (),
    seed_missed: tuple[str, ...] = (),
    ladder: str = "",
    skipped_steps: tuple[str, ...] = (),
) -> Marker:
    """The marker of a warm-up that has just succeeded.

    argv: the server's command line; its secrets are left out here. manifest: the bytes to be
    written under the marker's own name in `manifests/`. ladder: what was climbed, where that is not
    what this launch asks for: a pack's maker may have climbed another.
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
        target=target,
        left_out=tuple(map(encoding.clean, left_out)),
        seed_missed=tuple(map(encoding.clean, seed_missed)),
        ladder="off" if warmed_by == "kernels" else ladder or launch.climbs,
        skipped_steps=skipped_steps,
    )


def encode_marker(marker: Marker) -> bytes:
    """The file's bytes: indented canonical JSON, with the checksum filled in."""
    data = msgspec.to_builtins(marker)
    data.pop("checksum")
    return encoding.encode_pretty({**data, "checksum": encoding.get_digest(data)})


def _make_name(model: str, tp: int, launch_key: str, version_key: str) -> str:
    return f"{get_slug(model)}--tp{tp}--{launch_key}--{version_key}"

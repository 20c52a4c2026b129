"""The markers of a home held against the present host and caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from warmup.caches.api import (
    EntryRecord,
    Manifest,
    Mismatch,
    Snapshot,
    find_mismatch,
    verify_deep,
)
from warmup.launch.api import Launch
from warmup.state.check import judge, read_bound_manifest
from warmup.state.home import Home
from warmup.state.manifests import has_manifest
from warmup.state.marker import Marker
from warmup.state.marker_files import MarkerProblem, list_markers
from warmup.state.version_vector import GPU_INGREDIENTS, VersionVector
from warmup.words.errors import IntegrityError, UsageError

MarkerState = Literal[
    "fresh",
    "seeded",
    "stale",
    "superseded",
    "unjudged",
    "dangling",
    "corrupt",
    "foreign",
    "outdated",
    "future",
    "unreadable",
]
# What `audit` fails for. A superseded marker is waste, and `gc`'s business.
BAD_STATES = frozenset(
    {"stale", "unjudged", "dangling", "corrupt", "foreign", "outdated", "future", "unreadable"}
)
# What is provably of no use any more, and `gc` may drop.
DROPPABLE = frozenset({"stale", "superseded", "outdated"})


class AuditedMarker(msgspec.Struct, frozen=True, kw_only=True):
    """seeded: made for a GPU, on or for another machine than this one; no fault, and not warm.
    superseded: its vector is not the present one, and the same launch has a better marker.

    unjudged: this host, or this folder, cannot tell its vector. corrupt: its own checksum, or its
    manifest's digest, does not hold. dangling: the manifest is gone, or what it lists is not what
    lies there.
    """

    path: str
    state: MarkerState
    reason: str
    model: str | None = None
    tp: int | None = None
    engine: str | None = None
    launch_key: str | None = None
    created: str | None = None
    seconds: float | None = None
    entries: int = 0

    @property
    def file_name(self) -> str:
        """Its own in `markers/`, and its manifest's in `manifests/`."""
        return self.path.rpartition("/")[2]


class HostView(Protocol):
    """How this host sees launches today; a command's session is one.

    env: of servers, before a launch's own. vector: of all launches together. default: what a
    launch that no workflow describes would take (python, workflow_dir).
    """

    @property
    def home(self) -> Home: ...
    @property
    def env(self) -> Mapping[str, str]: ...
    @property
    def vector(self) -> VersionVector: ...
    @property
    def launches(self) -> Sequence[Launch]: ...
    @property
    def default(self) -> Launch: ...
    def get_vector(self, launch: Launch) -> VersionVector:
        """The vector that its server would meet. Raises UsageError."""

    def get_env(self, launch: Launch) -> Mapping[str, str]:
        """The environment of its server, which says where each family lies."""


def list_envs(view: HostView) -> list[Mapping[str, str]]:
    """The environments of the workflow's servers: each may put a family elsewhere."""
    return [view.get_env(launch) for launch in view.launches]


def get_launch(view: HostView, marker: Marker) -> Launch:
    """The workflow's launch of that key, else one made of what the marker recorded."""
    for launch in view.launches:
        if launch.key == marker.launch_key:
            return launch
    record = marker.launch
    named = (each.name.partition(":") for each in marker.version_vector)
    return Launch(
        model=record.model,
        tp=record.tp,
        engine=record.engine,
        python=view.default.python,
        revision=record.revision,
        fallback_args=record.fallback_args,
        env=record.env,
        command=record.command,
        weights="dummy" if record.weights == "dummy" else "real",
        trust_remote_code=record.trust_remote_code,
        source_paths=tuple(path for kind, _, path in named if kind == "source"),
        workflow_dir=view.default.workflow_dir,
    )


@dataclass
class Judged:
    """needed: (family, root) → entries that a fresh marker lists, as in its manifest.

    mismatches: files whose content is not the recorded one (`deep`). stale: the markers of that
    state themselves.
    """

    markers: list[AuditedMarker] = field(default_factory=list)
    needed: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    mismatches: list[Mismatch] = field(default_factory=list)
    stale: list[Marker] = field(default_factory=list)
    _hashed: set[tuple[str, str, tuple[str, ...]]] = field(default_factory=set)

    def need(self, manifest: Manifest) -> None:
        for family, roots in manifest.families.items():
            for record in roots:
                paths = self.needed.setdefault((family, record.root), set())
                paths.update(entry.path for entry in record.entries)

    def verify(self, manifest: Manifest) -> None:
        """Hash what no earlier manifest had hashed: markers of one cache list the same entries."""
        families = {
            name: [
                msgspec.structs.replace(
                    record, entries=[e for e in record.entries if self._is_new(record.root, e)]
                )
                for record in roots
            ]
            for name, roots in manifest.families.items()
        }
        self.mismatches += verify_deep(msgspec.structs.replace(manifest, families=families))

    def _is_new(self, root: str, entry: EntryRecord) -> bool:
        key = (root, entry.path, tuple(file.sha256 for file in entry.files))
        is_new = key not in self._hashed
        self._hashed.add(key)
        return is_new


def judge_markers(
    view: HostView, *, snapshot: Snapshot | None = None, deep: bool = False
) -> Judged:
    """Every file under `markers/`, by name. snapshot: of all families, instead of more stats."""
    found = list_markers(view.home)
    verdicts = {each.name: _judge_vector(each, view) for each in found if isinstance(each, Marker)}
    judged = Judged()
    for each in found:
        if isinstance(each, MarkerProblem):
            judged.markers.append(
                AuditedMarker(
                    path=str(each.path),
                    state=each.kind,
                    reason=each.reason,
                    launch_key=each.keys[0] if each.keys else None,
                )
            )
            continue
        state, reason = verdicts[each.name]
        if state in ("stale", "seeded") and _is_superseded(each, found, verdicts):
            state = "superseded"
        elif state in ("fresh", "seeded"):
            state, reason = _judge_manifest(each, view, judged, snapshot, deep, state, reason)
        if state == "stale":
            judged.stale.append(each)
        judged.markers.append(_describe(view.home, each, state, reason))
    return judged


def _is_superseded(
    marker: Marker,
    found: Sequence[Marker | MarkerProblem],
    verdicts: Mapping[str, tuple[MarkerState, str]],
) -> bool:
    """Whether another marker of the same launch is newer, or has the present vector.

    A seed is replaced by what began from it: it may be for another machine than this one.
    """
    same = [
        each for each in found if isinstance(each, Marker) and each.launch_key == marker.launch_key
    ]
    if verdicts[marker.name][0] == "seeded":
        same = [each for each in same if each.target == marker.target and not each.is_seed]
    return any(each.created > marker.created or verdicts[each.name][0] == "fresh" for each in same)


def _judge_vector(marker: Marker, view: HostView) -> tuple[MarkerState, str]:
    try:
        check = judge(marker, view.get_vector(get_launch(view, marker)))
    except UsageError as error:
        return "unjudged", f"its vector cannot be read here: {error.reason}"
    assert check.state in ("fresh", "seeded", "stale", "unjudged"), check.state
    if check.state == "stale" and _is_elsewhere(marker, view.get_vector(get_launch(view, marker))):
        return "seeded", check.reason
    return check.state, check.reason


def _is_elsewhere(marker: Marker, vector: VersionVector) -> bool:
    """Whether a seed differs from this host's vector in the GPUs alone: it is for other ones."""
    changes = marker.vector.diff(vector)
    return marker.is_seed and bool(changes) and {c.name for c in changes} <= GPU_INGREDIENTS


def _judge_manifest(
    marker: Marker,
    view: HostView,
    judged: Judged,
    snapshot: Snapshot | None,
    deep: bool,
    state: MarkerState,
    reason: str,
) -> tuple[MarkerState, str]:
    if not has_manifest(view.home, marker.manifest):
        return "dangling", "its manifest is gone"
    try:
        manifest = read_bound_manifest(view.home, marker)
    except IntegrityError as error:
        return "corrupt", error.reason
    judged.need(manifest)
    if deep:
        judged.verify(manifest)
    env = view.get_env(get_launch(view, marker))
    mismatch = find_mismatch(manifest, env, snapshot)
    return (state, reason) if mismatch is None else ("dangling", mismatch)


def _describe(home: Home, marker: Marker, state: MarkerState, reason: str) -> AuditedMarker:
    return AuditedMarker(
        path=str(home.markers / marker.file_name),
        state=state,
        reason=reason,
        model=marker.model,
        tp=marker.tp,
        engine=marker.engine,
        launch_key=marker.launch_key,
        created=marker.created,
        seconds=marker.seconds,
        entries=marker.num_entries,
    )

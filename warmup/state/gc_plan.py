"""What `gc` would drop: a function of markers, manifests, a walk and the runs that are alive."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from warmup.caches.records import Manifest, read_manifest
from warmup.caches.walk import File, Snapshot
from warmup.state.home import Home
from warmup.state.judge import AuditedMarker, Judged
from warmup.words.errors import IntegrityError
from warmup.words.escape import to_text
from warmup.words.files import Folder
from warmup.words.locks import is_held

_RUN_ID_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, order=True)
class Candidate:
    """An entry that nobody needs. used: when it was last written or read, s since the epoch."""

    used: float
    family: str
    root: str
    entry: str
    bytes: int


@dataclass
class Plan:
    """markers, manifests: files to unlink. entries: oldest first. temporaries: (root, path).

    total_bytes: of all entries walked. num_young: entries spared for a run that is alive.
    """

    markers: list[Path] = field(default_factory=list)
    manifests: list[Path] = field(default_factory=list)
    entries: list[Candidate] = field(default_factory=list)
    temporaries: list[tuple[str, str]] = field(default_factory=list)
    total_bytes: int = 0
    num_young: int = 0

    @property
    def left_bytes(self) -> int:
        return self.total_bytes - sum(each.bytes for each in self.entries)


def find_oldest_live_run(home: Home) -> float | None:
    """When the oldest run began whose `run.lock` is held; None where no run is alive."""
    held = (lock for lock in home.runs.glob("*/run.lock") if _is_held(lock))
    return min(map(_get_start, held), default=None)


def _is_held(lock: Path) -> bool:
    try:
        with Folder.open(lock.parent) as folder:
            return is_held(folder, lock.name)
    except OSError:
        return False


def _get_start(lock: Path) -> float:
    """The run id begins with the time; a folder of another name counts from its lock's mtime."""
    try:
        began = datetime.strptime(lock.parent.name.partition("-")[0], _RUN_ID_TIME)
        return began.replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return lock.stat().st_mtime


def choose_stale(markers: Sequence[AuditedMarker], keep_last: int) -> list[AuditedMarker]:
    """Stale and superseded markers but the newest `keep_last` of each launch."""
    by_launch: dict[str, list[AuditedMarker]] = {}
    for marker in markers:
        if marker.state in ("stale", "superseded"):
            launch = Path(marker.path).stem.rpartition("--")[0]
            by_launch.setdefault(launch, []).append(marker)
    dropped = []
    for same in by_launch.values():
        same.sort(key=lambda marker: marker.created or "", reverse=True)
        dropped += same[keep_last:]
    return sorted(dropped, key=lambda marker: marker.path)


def make_plan(
    home: Home,
    judged: Judged,
    snapshot: Snapshot,
    *,
    dropped: Sequence[AuditedMarker],
    live_since: float | None,
    max_bytes: int | None,
    now: float,
) -> Plan:
    """What to drop. Only folders that some marker's manifest has entries in are looked at: of
    others nothing says what is needed.

    live_since: of the oldest live run; while there is one, what any marker lists stays.
    max_bytes: drop the longest unused first, and no more than it takes; None drops all.
    """
    plan = Plan(markers=[Path(marker.path) for marker in dropped])
    kept = dict(judged.needed)
    known = set(kept)
    for marker in judged.markers:
        manifest = _find_manifest(home, marker)
        if manifest is None:
            continue
        known |= {
            (family, record.root)
            for family, roots in manifest.families.items()
            for record in roots
            if record.entries
        }
        if live_since is not None or marker not in dropped:
            _keep(kept, manifest)
    plan.manifests = _list_manifests(home, plan.markers, live_since)
    _choose_entries(plan, snapshot, known, kept, live_since)
    if max_bytes is not None:
        _spare(plan, max_bytes)
    _choose_temporaries(plan, snapshot, now if live_since is None else live_since)
    return plan


def _find_manifest(home: Home, marker: AuditedMarker) -> Manifest | None:
    try:
        return read_manifest(home.manifests / Path(marker.path).name)
    except IntegrityError:
        return None  # `audit` tells of it


def _keep(kept: dict[tuple[str, str], set[str]], manifest: Manifest) -> None:
    for family, roots in manifest.families.items():
        for record in roots:
            paths = {entry.path for entry in record.entries}
            kept[family, record.root] = kept.get((family, record.root), set()) | paths


def _list_manifests(home: Home, dropped: Sequence[Path], live_since: float | None) -> list[Path]:
    """Those of dropped markers, and those without one: their warm-up ended before its marker."""
    found = []
    for path in sorted(home.manifests.glob("*.json")):
        marker = home.markers / path.name
        if marker in dropped or (live_since is None and not os.path.lexists(marker)):
            found.append(path)
    return found


def _choose_entries(
    plan: Plan,
    snapshot: Snapshot,
    known: set[tuple[str, str]],
    kept: Mapping[tuple[str, str], set[str]],
    live_since: float | None,
) -> None:
    for family, roots in snapshot.families.items():
        for root in roots:
            place = (family, to_text(root.root))
            for entry, files in root.entries.items():
                size = sum(file.size for file in files)
                plan.total_bytes += size
                if place not in known or to_text(entry) in kept.get(place, ()):
                    continue
                used = _get_used(files)
                if live_since is not None and used >= live_since:
                    plan.num_young += 1
                else:
                    plan.entries.append(Candidate(used, family, root.root, entry, size))
    plan.entries.sort()


def _get_used(files: Sequence[File]) -> float:
    return max(max(file.mtime_ns, file.atime_ns) for file in files) / 1e9


def _spare(plan: Plan, max_bytes: int) -> None:
    """Keep the candidates that need not go for the total to fit."""
    left, chosen = plan.total_bytes, []
    for each in plan.entries:
        if left <= max_bytes:
            break
        chosen.append(each)
        left -= each.bytes
    plan.entries = chosen


def _choose_temporaries(plan: Plan, snapshot: Snapshot, before: float) -> None:
    """What an hour before the oldest live run, or before now, was left half-written."""
    for roots in snapshot.families.values():
        for root in roots:
            for path in root.temporaries:
                try:
                    mtime = Path(root.root, path).lstat().st_mtime
                except OSError:
                    continue
                if mtime < before - 3600:
                    plan.temporaries.append((root.root, path))

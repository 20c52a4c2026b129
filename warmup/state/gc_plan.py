"""What `gc` would drop: a function of markers, manifests, a walk and the runs that are alive."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from warmup.caches.api import Snapshot
from warmup.state.home import Home
from warmup.state.judge import DROPPABLE, AuditedMarker, Judged
from warmup.state.manifests import find_manifest, list_manifests
from warmup.words.errors import HostError
from warmup.words.escape import to_text
from warmup.words.files import Folder
from warmup.words.locks import is_held

LOCK_NAME = "run.lock"  # held by a run's orchestrator, in its folder
_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
_RUN_ID_TIME = "%Y%m%dT%H%M%SZ"
_HOUR_S = 3600.0


@dataclass(frozen=True, order=True)
class Candidate:
    """An entry that nobody needs. used: when it was last written or read, s since the epoch."""

    used: float
    family: str
    root: str
    entry: str
    bytes: int


@dataclass
class GcPlan:
    """markers, manifests, runs: names in the home's folders. entries: oldest first.

    temporaries: (root, path). total_bytes: of all entries walked. num_young: entries spared for a
    run that is alive. unread: manifests that could not be read; while there is one, no entry goes.
    """

    markers: list[str] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    entries: list[Candidate] = field(default_factory=list)
    temporaries: list[tuple[str, str]] = field(default_factory=list)
    total_bytes: int = 0
    num_young: int = 0

    @property
    def left_bytes(self) -> int:
        return self.total_bytes - sum(each.bytes for each in self.entries)


def find_oldest_live_run(home: Home) -> float | None:
    """When the oldest run began whose `run.lock` is held; None where no run is alive."""
    starts = []
    for name, folder in _iter_runs(home):
        with folder:
            if is_held(folder, LOCK_NAME):
                starts.append(_get_start(name, folder))
    return min(starts, default=None)


def choose_runs(home: Home, keep: int, is_needed: Callable[[Folder], bool]) -> list[str]:
    """Folders of runs that are over, but for the newest `keep`; what we did not make stays.

    is_needed: whether a run's folder says what `reap` has still to end.
    """
    ended = []
    runs = [each for each in _iter_runs(home) if _RUN_ID.fullmatch(each[0])]
    for index, (name, folder) in enumerate(reversed(runs)):
        with folder:
            if index >= keep and _is_over(name, folder) and not is_needed(folder):
                ended.append(name)
    return sorted(ended)


def _iter_runs(home: Home) -> Iterator[tuple[str, Folder]]:
    """Name and folder of every run, for the caller to close; oldest first, as the names sort."""
    runs = home.find_folder("runs")
    for name in runs.list_names() if runs is not None else ():
        try:
            folder = runs.open_folder(name)  # type: ignore[union-attr]
        except OSError:
            continue  # a file, a link, gone meanwhile: not a run
        yield name, folder


def _is_over(name: str, folder: Folder) -> bool:
    """A run that starts no server has no lock, nor has one that is just beginning."""
    try:
        folder.stat(LOCK_NAME)
    except FileNotFoundError:
        return time.time() - _get_start(name, folder) > _HOUR_S
    return not is_held(folder, LOCK_NAME)


def _get_start(name: str, folder: Folder) -> float:
    """The run id begins with the time; a folder of another name counts from its own mtime."""
    try:
        began = datetime.strptime(name.partition("-")[0], _RUN_ID_TIME)
        return began.replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return os.fstat(folder.fd).st_mtime


def choose_stale(markers: Sequence[AuditedMarker], keep_last: int) -> list[AuditedMarker]:
    """Stale, superseded and outdated markers but the newest `keep_last` of each launch."""
    by_launch: dict[str, list[AuditedMarker]] = {}
    for marker in markers:
        if marker.state in DROPPABLE and marker.launch_key is not None:
            by_launch.setdefault(marker.launch_key, []).append(marker)
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
) -> GcPlan:
    """What to drop. Only folders that some marker's manifest has entries in are looked at: of
    others nothing says what is needed.

    live_since: of the oldest live run; while there is one, what any marker lists stays.
    max_bytes: drop the longest unused first, and no more than it takes; None drops all.
    """
    plan = GcPlan(markers=[marker.file_name for marker in dropped])
    kept = dict(judged.needed)
    known = set(kept)
    for marker in judged.markers:
        try:
            manifest = find_manifest(home, marker.file_name)
        except HostError as error:
            plan.unread.append(error.reason)
            continue
        if manifest is None:
            continue
        known |= {
            (family, record.root)
            for family, roots in manifest.families.items()
            for record in roots
            if record.entries
        }
        if live_since is not None or marker not in dropped:
            for family, roots in manifest.families.items():
                for record in roots:
                    paths = {entry.path for entry in record.entries}
                    kept[family, record.root] = kept.get((family, record.root), set()) | paths
    plan.manifests = _list_manifests(home, plan.markers, live_since)
    _choose_entries(plan, snapshot, known, kept, live_since)
    if plan.unread:
        plan.entries = []
    if max_bytes is not None:
        _spare(plan, max_bytes)
    _choose_temporaries(plan, snapshot, now if live_since is None else live_since)
    return plan


def _list_manifests(home: Home, dropped: Sequence[str], live_since: float | None) -> list[str]:
    """Those of dropped markers, and those without one: their warm-up ended before its marker."""
    return [
        name
        for name in list_manifests(home)
        if name in dropped or (live_since is None and not _has_marker(home, name))
    ]


def _has_marker(home: Home, name: str) -> bool:
    folder = home.find_folder("markers")
    try:
        return folder is not None and bool(folder.stat(name))
    except OSError as error:
        return error.errno != errno.ENOENT


def _choose_entries(
    plan: GcPlan,
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
                used = max(max(file.mtime_ns, file.atime_ns) for file in files) / 1e9
                if live_since is not None and used >= live_since:
                    plan.num_young += 1
                else:
                    plan.entries.append(Candidate(used, family, root.root, entry, size))
    plan.entries.sort()


def _spare(plan: GcPlan, max_bytes: int) -> None:
    """Keep the candidates that need not go for the total to fit."""
    left, chosen = plan.total_bytes, []
    for each in plan.entries:
        if left <= max_bytes:
            break
        chosen.append(each)
        left -= each.bytes
    plan.entries = chosen


def _choose_temporaries(plan: GcPlan, snapshot: Snapshot, before: float) -> None:
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

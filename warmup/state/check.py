"""Is a launch warm? One answer for `run`, `plan`, `why` and `audit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from warmup.caches.api import Manifest, find_mismatch
from warmup.launch.api import Launch
from warmup.state.home import Home
from warmup.state.manifests import read_manifest
from warmup.state.marker import Marker
from warmup.state.marker_files import MarkerProblem, find_markers
from warmup.state.version_vector import Change, VersionVector, explain_unread
from warmup.words.errors import IntegrityError

CheckState = Literal[
    "fresh",
    "seeded",
    "stale",
    "unjudged",
    "dangling",
    "missing",
    "corrupt",
    "foreign",
    "outdated",
    "future",
    "unreadable",
]


NOT_PROVEN = "warm, but not proven"
ONLY_KERNELS = "only its kernels were compiled, by no server"


class Shortfall(NamedTuple):
    """What a warm-up did not do that is asked for now. name: of what differs; old: it did; new:
    it is to do."""

    reason: str
    name: str
    old: str
    new: str


class MarkerCheck(msgspec.Struct, frozen=True, kw_only=True):
    """state: `fresh` = warm, all else cold. reason: one line. marker: the one it speaks of.

    seeded: made for this machine's GPUs without them, or pulled with one ingredient off; one boot
    will tell, if any changes are named, and for a target (whose vector is the seed's own) there is
    nothing left to do.

    path: of that marker, or of the file that is not a good one. changes: old → new, where stale.
    """

    state: CheckState
    reason: str
    marker: Marker | None = None
    path: Path | None = None
    changes: tuple[Change, ...] = ()
    problems: tuple[MarkerProblem, ...] = ()

    @property
    def is_warm(self) -> bool:
        return self.state == "fresh"

    @property
    def is_seed_of_target(self) -> bool:
        """Whether all is done that can be done without the GPU."""
        return self.state == "seeded" and not self.changes


def check_launch(
    home: Home, launch: Launch, vector: VersionVector, env: Mapping[str, str]
) -> MarkerCheck:
    """Look for a marker of this launch that can be trusted: checksum, vector, manifest.

    env: the server's environment, which says where each cache family lies.
    """
    markers, problems = find_markers(home, launch.key)
    states = [judge(each, vector).state for each in markers]
    good = next((state for state in ("fresh", "seeded") if state in states), None)
    if good is not None:
        check = _check_manifest(home, markers[states.index(good)], vector, env)
    elif (problem := _find_telling(problems, vector, bool(markers))) is not None:
        reason = f"marker {problem.kind}: {problem.reason}"
        check = MarkerCheck(state=problem.kind, reason=reason, path=problem.path)
    elif markers:
        check = judge(find_nearest(markers, vector), vector)
    else:
        check = MarkerCheck(state="missing", reason="never warmed with this launch on this home")
    if check.marker is not None:
        check = msgspec.structs.replace(check, path=home.markers / check.marker.file_name)
    return msgspec.structs.replace(check, problems=tuple(problems))


def find_shortfall(marker: Marker, launch: Launch) -> Shortfall | None:
    """Why a fresh marker is not enough for what this launch asks now; None where it is.

    Who asks for kernels alone asks for no server and no request. Else a server must have warmed it,
    and have been sent what is asked for, or more.
    """
    asked = launch.climbs
    has_climbed = asked in ("off", marker.ladder) or (asked, marker.ladder) == ("short", "full")
    if launch.strategy != "kernels" and marker.warmed_by == "kernels":
        return Shortfall(ONLY_KERNELS, "warmed by", "kernels", "server")
    if launch.strategy != "kernels" and not has_climbed:
        reason = f"warmed with ladder {marker.ladder}, asked for {asked}"
        if marker.ladder.startswith("own:") and asked.startswith("own:"):
            reason = f"its own requests are others now: {reason}"
        return Shortfall(reason, "ladder", marker.ladder, asked)
    if launch.prove and not marker.proven:
        return Shortfall(NOT_PROVEN, "proven", "no", "yes")
    return None


def judge(marker: Marker, vector: VersionVector) -> MarkerCheck:
    """Hold a marker's version vector against the present one; its manifest is not looked at.

    Stale is what one ingredient proves to be; what only may be, since an ingredient could not be
    read, is unjudged: neither warm nor to be dropped.
    """
    changes = marker.vector.diff(vector)
    unread = vector.unread or marker.vector.unread
    if unread and not any(change.is_proven for change in changes):
        return MarkerCheck(
            state="unjudged", reason=explain_unread(unread), marker=marker, changes=tuple(changes)
        )
    if marker.is_seed:
        return _judge_seed(marker, changes)
    if not changes:
        return MarkerCheck(state="fresh", reason=f"marker of {marker.created[:10]}", marker=marker)
    is_near = marker.was_pulled and len(changes) == 1
    reason = f"pulled, with one boot to tell: {changes[0]}" if is_near else tell_changes(changes)
    state: CheckState = "seeded" if is_near else "stale"
    return MarkerCheck(state=state, reason=reason, marker=marker, changes=tuple(changes))


def _judge_seed(marker: Marker, changes: Sequence[Change]) -> MarkerCheck:
    """A seed is stale by what it knew for certain, not by what it could only assume."""
    reason = f"seeded for {marker.target} on {marker.created[:10]}"
    is_for_here = all(change.is_answer for change in changes)
    if changes:
        will = "one boot will tell: " if is_for_here else ""
        reason = f"{reason}; {will}{tell_changes(changes)}"
    return MarkerCheck(
        state="seeded" if is_for_here else "stale",
        reason=reason,
        marker=marker,
        changes=tuple(changes),
    )


def tell_changes(changes: Sequence[Change]) -> str:
    told = ", ".join(map(str, changes[:3]))
    return told + (f", and {len(changes) - 3} more" if len(changes) > 3 else "")


def find_nearest(markers: Sequence[Marker], vector: VersionVector) -> Marker:
    """The marker with the fewest changed ingredients, the newest of those; of one at least.

    What was not read counts as changed only where all else is equal.
    """

    def get_distance(marker: Marker) -> tuple[int, int]:
        changes = marker.vector.diff(vector)
        return sum(change.is_proven for change in changes), len(changes)

    newest_first = sorted(markers, key=lambda marker: marker.created, reverse=True)
    return min(newest_first, key=get_distance)


def read_bound_manifest(home: Home, marker: Marker) -> Manifest:
    """The manifest that this marker was written with. Raises IntegrityError for any other."""
    return read_manifest(home, marker.manifest, marker.manifest_sha256)


def _check_manifest(
    home: Home, marker: Marker, vector: VersionVector, env: Mapping[str, str]
) -> MarkerCheck:
    try:
        mismatch = find_mismatch(read_bound_manifest(home, marker), env)
    except IntegrityError as error:
        mismatch = error.reason
    if mismatch is not None:
        return MarkerCheck(state="dangling", reason=mismatch, marker=marker)
    return judge(marker, vector)


def _find_telling(
    problems: list[MarkerProblem], vector: VersionVector, has_others: bool
) -> MarkerProblem | None:
    """The bad file that would have been this vector's marker; any, if there is nothing better."""
    for problem in problems:
        if problem.keys is not None and problem.keys[1] == vector.key:
            return problem
    return None if has_others else next(iter(problems), None)

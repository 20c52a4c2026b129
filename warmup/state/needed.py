"""Which cache entries the fresh markers of a home need."""

from __future__ import annotations

from warmup.state.check import read_bound_manifest
from warmup.state.judge import HostView, Judged, judge_markers
from warmup.state.marker import Marker
from warmup.state.marker_files import list_markers


def list_needed(view: HostView) -> dict[tuple[str, str], set[str]]:
    """(family, root) → entries, all as manifests write them. A marker that is stale, or whose
    entries are gone or changed, needs nothing."""
    fresh = {each.file_name for each in judge_markers(view).markers if each.state == "fresh"}
    needed = Judged()
    for marker in list_markers(view.home):
        if isinstance(marker, Marker) and marker.file_name in fresh:
            needed.need(read_bound_manifest(view.home, marker))
    return needed.needed

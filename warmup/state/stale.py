"""Entries that only warm-ups under other version vectors made."""

from __future__ import annotations

from warmup.state.home import Home
from warmup.state.manifests import read_manifest
from warmup.state.marker import Marker
from warmup.state.marker_files import list_markers
from warmup.words.errors import IntegrityError


def find_stale_entries(home: Home, version_key: str) -> dict[str, frozenset[str]]:
    """Family → entries that a warm-up under another key added and none under this key lists.

    What `manifest.make_manifest` may leave out if the new warm-up does not read it: listed
    there, the rubbish of every earlier version would be needed for ever.
    """
    made: dict[str, set[str]] = {}
    kept: dict[str, set[str]] = {}
    for marker in list_markers(home):
        if not isinstance(marker, Marker):
            continue
        is_present = marker.version_key == version_key
        try:
            manifest = read_manifest(home, marker.manifest)
        except IntegrityError:
            continue  # `audit` tells of it; here it means that nothing is known to be stale
        for family, roots in manifest.families.items():
            chosen = (kept if is_present else made).setdefault(family, set())
            for root in roots:
                chosen.update(one.path for one in root.entries if is_present or one.added)
    return {
        family: frozenset(entries - kept.get(family, set())) for family, entries in made.items()
    }

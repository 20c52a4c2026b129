"""`warmup-ci gc`: drop stale markers, their manifests, and the entries that nobody needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from warmup.packs.api import collect_parts
from warmup.report.api import get_count, get_size, show
from warmup.state.api import GcDocument, HostView, collect
from warmup.supervise.api import has_to_be_reaped
from warmup.words.names import FAMILY_NAMES


def gc(
    session: HostView,
    *,
    families: Sequence[str] = FAMILY_NAMES,
    max_bytes: int | None = None,
    keep_last: int = 0,
    keep_runs: int = 20,
    dry_run: bool = False,
    json_output: bool = False,
) -> int:
    """Print what was dropped. Returns 0, or 1 where something could not be removed or `max_bytes`
    not be met. The options are `collect`'s. Raises HostError.
    """
    document = collect(
        session,
        families=families,
        max_bytes=max_bytes,
        keep_last=keep_last,
        keep_runs=keep_runs,
        is_needed=has_to_be_reaped,
        dry_run=dry_run,
    )
    parts = collect_parts(session.home, dry_run=dry_run)
    document = msgspec.structs.replace(document, temporaries=[*document.temporaries, *parts])
    show(document, _render(document, max_bytes), json_output=json_output)
    return document.exit_code


def _render(document: GcDocument, max_bytes: int | None) -> Iterator[str]:
    verb = "would drop" if document.dry_run else "dropped"
    for path in (*document.markers, *document.manifests):
        yield f"{verb} {path}"
    counts: dict[str, tuple[int, int]] = {}
    for entry in document.entries:
        count, size = counts.get(entry.family, (0, 0))
        counts[entry.family] = (count + 1, size + entry.bytes)
    for family, (count, size) in counts.items():
        told = get_count(count, "entry", "entries")
        yield f"{verb} {told} of {family}, {get_size(size)}"
    if document.runs:
        yield f"{verb} {get_count(len(document.runs), 'folder')} of ended runs"
    if document.temporaries:
        yield f"{verb} {get_count(len(document.temporaries), 'temporary file')}"
    for path in document.held:
        yield f"kept {path}: another run holds its lock"
    if document.spared:
        told = get_count(document.spared, "entry", "entries")
        yield f"kept {told} younger than a run that is alive"
    for failure in document.failed:
        yield f"failed: {failure}"
    if max_bytes is not None and document.left_bytes > max_bytes:
        yield f"{get_size(document.left_bytes)} are needed, more than the limit"
    yield f"{verb} {get_size(document.bytes)} in all, {get_size(document.left_bytes)} left"

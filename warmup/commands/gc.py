"""`warmup-ci gc`: drop stale markers, their manifests, and the entries that nobody needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from warmup.commands.audit_report import get_size
from warmup.report.output import DataOutput
from warmup.state.gc import GcDocument, collect
from warmup.state.judge import HostView
from warmup.words.encoding import encode_json
from warmup.words.escape import get_printable
from warmup.words.names import FAMILY_NAMES


def gc(
    session: HostView,
    *,
    families: Sequence[str] = FAMILY_NAMES,
    max_bytes: int | None = None,
    keep_last: int = 0,
    dry_run: bool = False,
    json_output: bool = False,
) -> int:
    """Print what was dropped. Returns 0, or 1 where something could not be removed or `max_bytes`
    not be met. The options are `collect`'s. Raises HostError.
    """
    document = collect(
        session, families=families, max_bytes=max_bytes, keep_last=keep_last, dry_run=dry_run
    )
    _print(document, json_output, max_bytes)
    return document.exit_code


def _print(document: GcDocument, json_output: bool, max_bytes: int | None) -> None:
    out = DataOutput(sys.stdout)
    if json_output:
        out.line(encode_json(document).decode())
        return
    verb = "would drop" if document.dry_run else "dropped"
    for path in (*document.markers, *document.manifests):
        out.line(get_printable(f"{verb} {path}"))
    counts: dict[str, tuple[int, int]] = {}
    for entry in document.entries:
        count, size = counts.get(entry.family, (0, 0))
        counts[entry.family] = (count + 1, size + entry.bytes)
    for family, (count, size) in counts.items():
        out.line(f"{verb} {count} entries of {family}, {get_size(size)}")
    if document.temporaries:
        out.line(f"{verb} {len(document.temporaries)} temporary files")
    for path in document.held:
        out.line(get_printable(f"kept {path}: another run holds its lock"))
    if document.spared:
        out.line(f"kept {document.spared} entries younger than a run that is alive")
    for failure in document.failed:
        out.line(get_printable(f"could not remove {failure}"))
    if max_bytes is not None and document.left_bytes > max_bytes:
        out.line(f"{get_size(document.left_bytes)} are needed, more than the limit")
    out.line(f"{verb} {get_size(document.bytes)} in all, {get_size(document.left_bytes)} left")

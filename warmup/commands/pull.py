"""`warmup-ci pull REF`: verify a pack, then bring its entries to where servers will look."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from warmup.commands.session import Session
from warmup.packs.api import NoPack, Pull, PullDocument, open_source, parse_reference
from warmup.report.api import Output, get_count, get_size, show
from warmup.words.errors import HostError, UsageError
from warmup.words.escape import get_printable

_MAX_LINES = 20


def pull(
    session: Session, *, reference: str, allow_unsigned: bool = False, json_output: bool = False
) -> int:
    """Print what came and what it is worth here. Returns 0.

    Raises IntegrityError for what the policy refuses, UsageError, HostError, NoPack.
    """
    document = make_pull(session, reference, allow_unsigned=allow_unsigned).execute()
    show(document, render_pull(document), json_output=json_output)
    return document.exit_code


def make_pull(session: Session, reference: str, *, allow_unsigned: bool = False) -> Pull:
    """Raises UsageError without a cache root, and as `open_source`."""
    if not session.resolved.cache_root:
        raise UsageError(
            "pull needs one folder for all caches",
            cause="without it, where a server looks differs from engine to engine",
            hint="give --cache-root DIR, or `[caches] root` in the workflow, to `run` too",
        )
    source = parse_reference(reference)
    return Pull(
        view=session,
        store=open_source(source, session.policy),
        source=source,
        trust=session.get_trust(allow_unsigned=allow_unsigned),
        cache_root=Path(session.resolved.cache_root),
        check=session.check,
        err=Output(sys.stderr),
    )


def pull_before_run(session: Session, reference: str, err: Output) -> None:
    """Pull, so that `run` warms only what is still cold. A store that has no such pack, or that
    cannot be reached, costs time, not the run; a refused pack ends it (IntegrityError)."""
    try:
        lines = render_pull(make_pull(session, reference).execute())
    except (NoPack, HostError) as error:
        lines = iter([f"warning: nothing is pulled: {error.reason}"])
    for line in lines:
        err.line(get_printable(line))


def render_pull(document: PullDocument) -> Iterator[str]:
    signer = document.signer
    by = f"signed by {signer.name}, {signer.created}" if signer else "not signed"
    yield f"{document.reference}: {document.digest}, {by}"
    for name, family in document.families.items():
        parts = [f"{family.placed} placed", f"{family.same} there already"]
        if family.differing:
            parts.append(f"{family.differing} differ from what a marker here needs, and stay")
        if family.left_out:
            parts.append(f"{family.left_out} tuned on another GPU left out")
        yield f"{name}: {get_count(family.entries, 'entry', 'entries')}: {', '.join(parts)}"
    for lost in document.lost[:_MAX_LINES]:
        yield f"lost {lost.family} {lost.kernel}: {lost.reason}"
    if len(document.lost) > _MAX_LINES:
        yield f"… and {len(document.lost) - _MAX_LINES} more (--json lists them)"
    for launch in document.launches:
        yield f"{launch.state} {launch.model}:{launch.tp}: {launch.reason}"
    layers = get_count(document.fetched_layers, "layer")
    yield f"fetched {layers}, {get_size(document.fetched_bytes)}"

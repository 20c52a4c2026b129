"""`warmup-ci push REF`: send what fresh markers need, as a signed pack."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from warmup.commands.session import Session
from warmup.packs.api import (
    Push,
    PushDocument,
    Reference,
    check_place,
    open_packs,
    open_store,
    parse_reference,
    parse_signing,
)
from warmup.report.api import Output, get_count, get_size, show
from warmup.state.api import VersionVector
from warmup.words.errors import UsageError
from warmup.words.escape import get_printable


def push(
    session: Session,
    *,
    reference: str,
    sign: str | None = None,
    mcv: bool = False,
    packs: Sequence[str] = (),
    allow_unsigned: bool = False,
    json_output: bool = False,
) -> int:
    """Print the digest. Returns 0, or 1 where a model named is not warm and was left out.

    sign: `ssh:KEY` or `sigstore`. packs: what these hold is sent, as one, instead of what is warm
    here; allow_unsigned: of them. Raises UsageError, IntegrityError (an entry has changed, a pack
    is refused), HostError.
    """
    to = _parse_target(reference)
    if packs:
        sources = [parse_reference(text) for text in packs]
        trust = session.get_trust(allow_unsigned=allow_unsigned)
        with open_packs(sources, session.policy, trust) as opened:
            vector = opened[0].image.contents.vector
            document = make_push(session, to, sign, mcv=mcv, vector=vector).execute_merged(opened)
    elif allow_unsigned:
        raise UsageError("--allow-unsigned is of --pack", hint="an unsigned push needs no flag")
    else:
        document = make_push(session, to, sign, mcv=mcv).execute(
            [(launch, session.check(launch)) for launch in session.get_launches()]
        )
    show(document, render_push(document), json_output=json_output)
    return document.exit_code


def _parse_target(reference: str) -> Reference:
    """Raises UsageError for what cannot be pushed to."""
    to = parse_reference(reference)
    if to.digest:
        raise UsageError(f"{to} names a digest", hint="push to a tag: what is there never changes")
    return to


def make_push(
    session: Session,
    to: Reference,
    sign: str | None,
    *,
    mcv: bool = False,
    vector: VersionVector | None = None,
) -> Push:
    """to: without a digest. vector: None for this host's. Raises as `open_store` and
    `parse_signing`."""
    return Push(
        home=session.home,
        vector=vector or session.vector,
        store=open_store(to, session.policy, create=True),
        to=to,
        sign=None if sign is None else parse_signing(sign, session.environ),
        err=Output(sys.stderr),
        mcv=mcv,
    )


def check_push(session: Session, reference: str, sign: str | None) -> None:
    """What can be seen before a run of hours. Raises UsageError, and IntegrityError for a registry
    that is not allowed."""
    check_place(_parse_target(reference), session.policy)
    if sign is not None:
        parse_signing(sign, session.environ)


def push_after_run(session: Session, reference: str, sign: str | None, err: Output) -> None:
    """Push what is warm now. A pull request only reads: its code may not write what others load."""
    event = session.environ.get("GITHUB_EVENT_NAME", "")
    if event.startswith("pull_request"):
        err.line(f"does not push to {reference}: this is a {event} event, which only reads")
        return
    checks = [(launch, session.check(launch)) for launch in session.launches]
    if not any(check.is_warm for _, check in checks):
        err.line(f"does not push to {reference}: nothing is warm")
        return
    document = make_push(session, _parse_target(reference), sign).execute(checks)
    for line in render_push(document):
        err.line(get_printable(line))


def render_push(document: PushDocument) -> Iterator[str]:
    for name, family in document.families.items():
        told = "sent" if family.sent else "was there"
        entries = get_count(family.entries, "entry", "entries")
        yield f"{name}: {entries}, {get_size(family.bytes)}, {told}"
    for name, reason in document.left_out.items():
        yield f"left out {name}: {reason}"
    signed = "signed" if document.signed else "not signed: nobody can tell whose it is"
    yield f"pushed {', '.join(document.launches)} as {document.tag}, {signed}"
    for kind, reference in document.mcv.items():
        yield f"for MCV, {kind}: {reference}"
    yield document.reference

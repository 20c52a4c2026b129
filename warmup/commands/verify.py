"""`warmup-ci verify REF|DIR`: whether a pack may be used here, and what it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from warmup.commands.session import Session
from warmup.packs.api import VerifyDocument, open_source, parse_reference
from warmup.packs.api import verify as verify_pack
from warmup.report.api import get_count, get_size, show
from warmup.words.errors import IntegrityError


def verify(
    session: Session, *, reference: str, allow_unsigned: bool = False, json_output: bool = False
) -> int:
    """Print yes or no, by whom and when it was signed, for which vector, and what it holds.

    Returns 0, or 4 where the answer is no (for `--json` it is IntegrityError's document).
    reference: also a folder's path alone. Raises UsageError, HostError, NoPack.
    """
    text = f"dir:{reference}" if Path(reference).is_dir() else reference
    source = parse_reference(text)
    trust = session.get_trust(allow_unsigned=allow_unsigned)
    try:
        with contextlib.closing(open_source(source, session.policy)) as store:
            document = verify_pack(store, source, session.vector.key, trust, session.home)
    except IntegrityError as error:
        if json_output:
            raise
        hint = [f"hint: {error.hint}"] if error.hint else []
        show(None, [f"no: {source}: {error.reason}", *hint], json_output=False)
        return error.exit_status
    show(document, _render(document), json_output=json_output)
    return document.exit_code


def _render(document: VerifyDocument) -> Iterator[str]:
    signer = document.signer
    if signer is None:
        yield f"unsigned: {document.reference} is not signed by anybody that the policy names"
    else:
        by = f"{signer.name} ({signer.issuer or signer.kind})"
        yield f"yes: {document.reference} is signed by {by}, {signer.created}"
    yield f"digest      {document.digest}"
    yield f"made        {document.created} by warmup-ci {document.tool_version}"
    yield f"version key {document.version_key}"
    for each in document.ingredients:
        yield f"  {each.name} {each.value}"
    for launch in document.launches:
        proven = ", proven" if launch.proven else ""
        took = f"{launch.seconds:.1f} s cold{proven}"
        yield f"launch      {launch.model}:{launch.tp} ({launch.engine}), {took}"
    for name, family in document.families.items():
        entries = get_count(family.entries, "entry", "entries")
        yield f"family      {name}: {entries}, {get_size(family.bytes)}"

"""`warmup-ci doctor --profile [GPU]`: what a GPU says of itself, alone or held against ours."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from warmup.commands.session import Session
from warmup.report.api import show
from warmup.target.api import Profile, capture, compare_profiles, read_profile
from warmup.words.errors import EXIT_FAILED, EXIT_OK


class ProfileDocument(msgspec.Struct, frozen=True, kw_only=True):
    """kind: of ours, "" where there is nothing to compare with. profile: this machine's GPU 0."""

    schema: int = 1
    exit_code: int
    kind: str
    profile: Profile
    differences: tuple[str, ...]


def profile(session: Session, *, kind: str = "", json_output: bool = False) -> int:
    """Print the profile of GPU 0 (a file for `warmup/target/profiles/`), or with `kind` a line per
    difference from that one of ours. Returns 0, or 1 where they differ.

    Raises UsageError for an unknown kind, HostError where there is no GPU.
    """
    ours = read_profile(kind) if kind else None
    seen = capture()
    found = tuple(compare_profiles(ours, seen)) if ours is not None else ()
    document = ProfileDocument(
        exit_code=EXIT_FAILED if found else EXIT_OK, kind=kind, profile=seen, differences=found
    )
    show(document, _render(document), json_output=json_output)
    return document.exit_code


def _render(found: ProfileDocument) -> Iterator[str]:
    if not found.kind:
        text = msgspec.json.format(msgspec.json.encode(found.profile), indent=1)
        yield from text.decode().splitlines()
        return
    yield from found.differences
    seen = found.profile
    of_the_machine = f"driver {seen.driver}, CUDA {seen.cuda_driver}"
    yield f"{found.kind}: {len(found.differences)} differences from {seen.name} ({of_the_machine})"

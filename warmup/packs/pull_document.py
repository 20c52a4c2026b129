"""What a pull says: the document of `pull --json`."""

from __future__ import annotations

from typing import Literal

import msgspec

from warmup.packs.policy import Signer
from warmup.words.errors import EXIT_OK, WarmupError


class NoPack(WarmupError):
    """Nothing of that name is for this host."""


LaunchState = Literal["warm", "seed", "absent"]


class PulledLaunch(msgspec.Struct, frozen=True, kw_only=True):
    """warm: a marker stands. seed: its entries are here, and one boot will tell; a marker says so
    where one ingredient alone is off. absent: the pack holds nothing of it. reason: one line."""

    model: str
    tp: int
    state: LaunchState
    reason: str
    marker: str | None = None


class PulledFamily(msgspec.Struct, frozen=True):
    """Entries of the pack: placed now; there already; another of that path stays, since a marker
    here needs it; tuning of another GPU, left out."""

    entries: int
    placed: int
    same: int
    differing: int
    left_out: int


class LostEntry(msgspec.Struct, frozen=True):
    """An entry that came whole and that no server here will use."""

    family: str
    path: str
    kernel: str
    reason: str


class PullDocument(msgspec.Struct, frozen=True, kw_only=True):
    """signer: null for a pack that was pulled unsigned."""

    schema: int = 1
    exit_code: int = EXIT_OK
    reference: str
    digest: str
    signer: Signer | None
    version_key: str
    cache_root: str
    launches: list[PulledLaunch]
    families: dict[str, PulledFamily]
    lost: list[LostEntry]
    fetched_bytes: int = 0
    fetched_layers: int = 0

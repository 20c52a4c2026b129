"""`verify`: yes or no, by whom, when, for which vector, what it holds. Fetches no layer but the
first."""

from __future__ import annotations

import msgspec

from warmup.packs.image import open_image
from warmup.packs.policy import Signer
from warmup.packs.store import PullStore, Reference
from warmup.packs.trust import Trust, read_acceptances
from warmup.state.api import Home, Ingredient
from warmup.words.errors import EXIT_OK


class HeldFamily(msgspec.Struct, frozen=True):
    """bytes: unpacked."""

    entries: int
    files: int
    bytes: int


class HeldLaunch(msgspec.Struct, frozen=True):
    """seconds: what warming took, cold."""

    model: str
    tp: int
    engine: str
    seconds: float
    proven: bool


class VerifyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `verify --json`, where the answer is yes. A refusal is an error document."""

    schema: int = 1
    exit_code: int = EXIT_OK
    reference: str
    digest: str
    signer: Signer | None
    created: str
    tool_version: str
    version_key: str
    ingredients: list[Ingredient]
    launches: list[HeldLaunch]
    families: dict[str, HeldFamily]


def verify(
    store: PullStore, reference: Reference, version_key: str, trust: Trust, home: Home
) -> VerifyDocument:
    """home: it knows what was accepted last, as `pull` does. Raises as `open_image`."""
    folder = home.find_folder("packs")
    if folder is not None:
        trust = trust.hold_against(read_acceptances(folder), reference, version_key)
    image = open_image(store, reference, version_key, trust)
    contents = image.contents
    families = {
        name: HeldFamily(
            len(family.entries),
            sum(len(entry.files) for entry in family.entries),
            sum(file.size for entry in family.entries for file in entry.files),
        )
        for name, family in contents.families.items()
    }
    return VerifyDocument(
        reference=str(reference),
        digest=image.digest,
        signer=image.signer,
        created=contents.created,
        tool_version=contents.tool_version,
        version_key=contents.version_key,
        ingredients=contents.ingredients,
        launches=[
            HeldLaunch(each.model, each.tp, each.engine, each.seconds, each.proven)
            for each in contents.launches
        ],
        families=families,
    )

"""Several packs made one: `push --pack`. Machines that warm shares of one workflow have one version
key, and would overwrite each other's pack."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from warmup.caches.api import get_family
from warmup.packs.collect import Collected, CollectedFamily
from warmup.packs.contents import PackEntry, PackFamily, PackLaunch
from warmup.packs.image import PackImage, open_image
from warmup.packs.policy import Policy
from warmup.packs.store import (
    PackStore,
    Reference,
    list_pack_tags,
    open_store,
    read_bounded,
)
from warmup.packs.trust import Trust
from warmup.packs.unpack import unpack_layer
from warmup.words.errors import UsageError
from warmup.words.escape import from_text
from warmup.words.files import Folder


@dataclass(frozen=True)
class OpenPack:
    """A pack that was judged, and where it is kept."""

    reference: Reference
    store: PackStore
    image: PackImage


@contextlib.contextmanager
def open_packs(
    references: Sequence[Reference], policy: Policy, trust: Trust
) -> Iterator[list[OpenPack]]:
    """One without tag and digest is the only one in its store.

    Raises UsageError for packs that cannot be one, and as `open_image`.
    """
    with contextlib.ExitStack() as stack:
        found: list[OpenPack] = []
        for each in references:
            store = stack.enter_context(contextlib.closing(open_store(each, policy)))
            tag = each.tag or each.digest or _find_only_tag(store, each)
            image = open_image(store, each, tag, trust)
            if found and found[0].image.contents.version_key != image.contents.version_key:
                raise UsageError(
                    f"{each} and {found[0].reference} are for different versions",
                    hint="push each of them by itself: their tags differ",
                )
            if image.others:
                raise UsageError(f"{each} is not a pack of warmup-ci", hint="pull it instead")
            found.append(OpenPack(each, store, image))
        yield found


def _find_only_tag(store: PackStore, reference: Reference) -> str:
    tags = list_pack_tags(store)
    if len(tags) != 1:
        raise UsageError(f"{reference} holds {len(tags)} packs", hint=f"name one: {reference}:TAG")
    return tags[0]


def merge(packs: Sequence[OpenPack], folder: Path) -> tuple[Collected, dict[str, str]]:
    """What all of them hold, unpacked below `folder`, which is private. Of two entries with one
    path the first counts: launches that need another are left out (name → reason).

    Raises IntegrityError for a layer that is not what its pack says.
    """
    families: dict[str, CollectedFamily] = {}
    launches: dict[str, PackLaunch] = {}
    left_out: dict[str, str] = {}
    for number, each in enumerate(packs):
        lost: dict[str, set[str]] = {}
        for name, family in each.image.contents.families.items():
            root = folder / str(number)
            files = {f"{family.folder}/{f.path}": f for e in family.entries for f in e.files}
            chunks = read_bounded(each.store, each.image.layers[family.diff_id])
            with Folder.open(root, create=True) as into:
                unpack_layer(chunks, files, into, diff_id=family.diff_id)
            merged = families.setdefault(name, CollectedFamily(name, family.folder))
            lost[name] = _add(merged, family, str(root / from_text(family.folder)))
        for launch in each.image.contents.launches:
            clash = next((n for n, paths in launch.entries.items() if lost[n] & {*paths}), None)
            if clash is not None:
                left_out[launch.name] = f"another pack has other entries of {clash}"
            else:
                launches.setdefault(launch.launch_key, launch)
    for launch in launches.values():
        left_out.pop(launch.name, None)
    created = max(each.image.contents.created for each in packs)
    return Collected(tuple(launches.values()), dict(sorted(families.items())), created), left_out


def _add(merged: CollectedFamily, family: PackFamily, root: str) -> set[str]:
    """Paths of the entries that another has already, where that one does not serve as well."""
    merged.roots += [path for path in family.roots if path not in merged.roots]
    lost = set()
    for entry in family.entries:
        known, _ = merged.entries.setdefault(entry.path, (entry, root))
        if _get_contents(merged.name, known) != _get_contents(merged.name, entry):
            lost.add(entry.path)
    return lost


def _get_contents(family: str, entry: PackEntry) -> dict[str, str]:
    """File → what must be equal of it. Under one key two compilers' outputs serve alike, and logs
    and groups tell of the machine; what one autotuner chose, another's kernels were not made for.
    """
    rules, found = get_family(family), {}
    for file in entry.files:
        name = file.path[len(entry.path) + 1 :]
        if name.rpartition("/")[2].startswith(".ninja_"):
            continue
        is_bound = rules.find_tuning(file.path) is not None and not rules.is_store(name)
        found[name] = file.sha256 if is_bound else ""
    return found

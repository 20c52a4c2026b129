"""Autotuners' results in a snapshot: what a seed does without (`Family.find_tuning`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from warmup.caches.family_table import get_family
from warmup.caches.manifest import find_new
from warmup.caches.remove import remove_inside
from warmup.caches.walk import File, RootSnapshot, Snapshot
from warmup.words.escape import to_line, to_text


class Tuning(NamedTuple):
    """One entry that holds a result. what: `tuning of add_kernel`."""

    family: str
    root: str
    entry: str
    what: str

    def __str__(self) -> str:
        return f"{self.family} {to_line(self.what)}"


def part_tuning(snapshot: Snapshot) -> tuple[Snapshot, list[Tuning]]:
    """The snapshot without autotuners' results, and those."""
    families: dict[str, list[RootSnapshot]] = {}
    found: list[Tuning] = []
    for name, roots in snapshot.families.items():
        families[name] = []
        for root in roots:
            entries = root.entries
            told = {entry: find_in_entry(name, entry, files) for entry, files in entries.items()}
            kept = {entry: files for entry, files in entries.items() if not told[entry]}
            families[name].append(msgspec.structs.replace(root, entries=kept))
            found += [Tuning(name, root.root, entry, what) for entry, what in told.items() if what]
    return Snapshot(families), found


def find_in_entry(family: str, entry: str, files: list[File]) -> str | None:
    """What the entry's first result is about; Triton gives each a folder of its own."""
    names = (f"{entry}/{file.name}".rstrip("/") for file in files)
    return next(filter(None, map(get_family(family).find_tuning, names)), None)


def find_new_tuning(before: Snapshot, after: Snapshot) -> list[Tuning]:
    """The results that `before` lacks or holds otherwise."""
    new = {(name, one.entry) for name, found in find_new(before, after).items() for one in found}
    return [each for each in part_tuning(after)[1] if (each.family, to_text(each.entry)) in new]


def remove_tuning(tunings: Iterable[Tuning]) -> None:
    """Raises OSError where one cannot be removed: whoever finds it would trust it."""
    for each in tunings:
        remove_inside(Path(each.root), each.entry, prune=True)

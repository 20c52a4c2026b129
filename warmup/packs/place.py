"""From a private staging root to where servers look: entry by entry, each by one rename.

What is there already stays where it is the same, and where a fresh marker of this home needs it.
Triton groups are made to name the files beside them before they are moved.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from warmup.caches.api import (
    GROUP_PREFIX,
    Facts,
    File,
    Snapshot,
    find_hazards,
    get_family,
    hash_file,
    make_group,
    rewrite_group,
    walk_root,
)
from warmup.packs.contents import PackEntry, PackFamily, PackFile
from warmup.words.escape import from_text
from warmup.words.files import Folder, read_head
from warmup.words.tree import Tree

STAGING_PREFIX = ".warmup-ci-pull-"
_GROUPED = ("triton", "inductor", "vllm")
_NINJA = "build.ninja"
_MAX_NINJA_BYTES = 8 << 20
# What makes an entry miss or hang although every byte of it came.
_LOSSES = frozenset(
    {
        "deep-gemm-half-written",
        "deep-gemm-include-path",
        "flashinfer-cuda-home",
        "library-needs-missing",
        "ninja-mtime-inversion",
        "triton-group-dangling",
        "triton-group-outside",
    }
)


@dataclass
class Placement:
    """One family's entries, by path: to be placed; the same already; other ones that stay.

    left_out: tuning results that were measured on another GPU. lost: path → why no server of this
    host will use it. placed: those that were, each file of its sha256. is_shared: whether servers
    read them where they are mounted.
    """

    name: str
    family: PackFamily
    root: Path
    missing: list[PackEntry] = field(default_factory=list)
    same: list[PackEntry] = field(default_factory=list)
    differing: list[PackEntry] = field(default_factory=list)
    left_out: list[PackEntry] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    placed: set[str] = field(default_factory=set)
    is_shared: bool = False

    @property
    def files(self) -> dict[str, PackFile]:
        """Path in the tar → file."""
        return {
            f"{self.family.folder}/{file.path}": file
            for entry in self.family.entries
            for file in entry.files
        }


def plan(
    name: str, family: PackFamily, root: Path, needed: Collection[str], *, is_other_gpu: bool
) -> Placement:
    """What of a family has to be placed under `root`. needed: entries of fresh markers there."""
    found = Placement(name, family, root)
    there, find_tuning = walk_root(get_family(name), root).entries, get_family(name).find_tuning
    with contextlib.ExitStack() as stack:
        tree = stack.enter_context(Tree(root)) if there else None
        for entry in family.entries:
            files = there.get(from_text(entry.path))
            if is_other_gpu and any(find_tuning(file.path) for file in entry.files):
                found.left_out.append(entry)
            elif files is None or tree is None:
                found.missing.append(entry)
            elif _is_same(tree, entry, files):
                found.same.append(entry)
            elif entry.path in needed:
                found.differing.append(entry)
            else:
                found.missing.append(entry)
    return found


def is_group(family: str, path: str) -> bool:
    return family in _GROUPED and path.rpartition("/")[2].startswith(GROUP_PREFIX)


def _is_same(tree: Tree, entry: PackEntry, there: list[File]) -> bool:
    """By size and time, and by content where the time differs. A group was rewritten here."""
    known = {file.name: file for file in there}
    for file in entry.files:
        name = from_text(file.path[len(entry.path) + 1 :])
        found = known.get(name)
        if found is None:
            if name.startswith("."):  # no warm-up lists ninja's logs
                continue
            return False
        if found.mtime_ns == file.mtime_ns and (
            found.size == file.size or name.startswith(GROUP_PREFIX)
        ):
            continue
        if found.size != file.size:
            return False
        try:
            dir_fd, last = tree.locate(from_text(file.path))
            if hash_file(last, dir_fd=dir_fd) != file.sha256:
                return False
        except OSError:
            return False
    return True


def move(found: Placement, staging: Folder) -> None:
    """Move what is missing from the staging root to the family's. Raises OSError."""
    if not found.missing:
        return
    parents = _list_parents(found)
    found.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    real = Path(os.path.realpath(found.root))
    with _descend(staging, found.family.folder) as source, Folder.open(real) as target:
        for entry in sorted(found.missing, key=lambda each: each.path):
            _rewrite_groups(found, entry, source)
            if from_text(entry.path) in parents:  # others lie inside
                _move_files(entry, source, target)
                found.placed.add(entry.path)
            elif _move_entry(from_text(entry.path), source, target):
                found.placed.add(entry.path)


def _list_parents(found: Placement) -> set[str]:
    """Folders that hold an entry, here or in the pack: they are not replaced whole."""
    paths = set(walk_root(get_family(found.name), found.root).entries)
    paths |= {from_text(entry.path) for entry in found.family.entries}
    parents: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in parents:
            parents.add(path)
    return parents


def _rewrite_groups(found: Placement, entry: PackEntry, source: Folder) -> None:
    for file in entry.files:
        if is_group(found.name, file.path):
            folder, _, name = from_text(file.path).rpartition("/")
            with _descend(source, folder) as inside:
                try:
                    rewrite_group(inside, name, found.root / folder, durable=False)
                except OSError as error:
                    found.lost[entry.path] = f"its Triton group cannot be repaired: {error}"
                    continue
                fd = inside.open_file(name)
                try:
                    os.utime(fd, ns=(file.mtime_ns, file.mtime_ns))
                finally:
                    os.close(fd)


def _move_entry(path: str, source: Folder, target: Folder) -> bool:
    """By one rename; a folder that lay there is removed first. False where a server made the entry
    at this very moment: its own is as good, and is not what the pack holds."""
    folder, _, name = path.rpartition("/")
    with _descend(source, folder) as old, _descend(target, folder, create=True) as new:
        if stat.S_ISDIR(old.stat(name).st_mode):
            new.remove(name)
        try:
            old.rename(name, name, new)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return False
    return True


def _move_files(entry: PackEntry, source: Folder, target: Folder) -> None:
    for file in entry.files:
        folder, _, name = from_text(file.path).rpartition("/")
        with _descend(source, folder) as old, _descend(target, folder, create=True) as new:
            old.rename(name, name, new)


def _descend(folder: Folder, path: str, *, create: bool = False) -> Folder:
    found = Folder(os.dup(folder.fd), folder.path)
    for part in filter(None, from_text(path).split("/")):
        with found:
            found = found.open_folder(part, create=create)
    return found


def find_losses(found: Placement, facts: Facts) -> None:
    """Fill `lost`: entries that are there, whole, and that no server of this host will use."""
    snapshot = Snapshot({found.name: [walk_root(get_family(found.name), found.root)]})
    known = {entry.path for entry in found.family.entries}
    for finding in find_hazards(snapshot, facts):
        if finding.rule in _LOSSES and finding.entry in known:
            found.lost.setdefault(finding.entry, finding.message)
    for path, why in _find_moved_builds(found):
        found.lost.setdefault(path, why)


def _find_moved_builds(found: Placement) -> Iterator[tuple[str, str]]:
    """Ninja compares command lines letter by letter, and they hold the root's path."""
    here = str(found.root)
    moved = [each for each in map(from_text, found.family.roots) if each.rstrip("/") != here]
    for entry in found.family.entries if moved else ():
        for file in entry.files:
            if file.path.rpartition("/")[2] == _NINJA:
                text = read_head(found.root / from_text(file.path), _MAX_NINJA_BYTES)
                if any(os.fsencode(root) in text for root in moved):
                    why = f"its {_NINJA} names {moved[0]}, it lies in {here} now: ninja rebuilds it"
                    yield entry.path, why


def check_group(path: Path) -> bool:
    """Whether a Triton group that was rewritten here names files beside it alone."""
    data = read_head(path, 1 << 20)
    return bool(data) and make_group(data, path.parent) == data

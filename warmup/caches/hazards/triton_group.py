"""Triton groups that name other files than those beside them (triton 3.9.0, runtime/cache.py).

`__grp__<kernel>.json` lists its children by absolute path. A copied cache therefore serves the
files of the original while that stands, and misses once it is gone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from warmup.caches.families.triton import GROUP_PREFIX
from warmup.caches.hazards.rule import Finding, Rule, RuleGroup, Scope
from warmup.caches.remove import open_below
from warmup.words.escape import from_text
from warmup.words.files import Folder, read_head

_MAX_BYTES = 1 << 20


class _Group(msgspec.Struct):
    child_paths: dict[str, str]


def check(scope: Scope) -> Iterator[Finding]:
    """Dangling: a child is gone, or the file is not a group. Outside: a child lies elsewhere."""
    for entry, path, names, group in _iter_groups(scope):
        if group is None:
            message = "unreadable group file: Triton ignores it"
            yield DANGLING.make_finding(scope, path, message, entry=entry, is_repairable=False)
            continue
        foreign = _list_foreign(path, names, group)
        gone = [child for child in foreign if not child.exists()]
        # The group's own folder may have another spelling: a linked root.
        own = os.path.realpath(Path(path).parent)
        there = [child for child in foreign if child not in gone]
        outside = [child for child in there if os.path.realpath(child.parent) != own]
        can = group.child_paths.keys() <= names
        for rule, found, told in (
            (DANGLING, gone, "which is gone"),
            (OUTSIDE, outside, "elsewhere"),
        ):
            if found:
                message = f"names {found[0]}, {told} ({len(found)} of {len(group.child_paths)})"
                yield rule.make_finding(scope, path, message, entry=entry, is_repairable=can)


def repair(finding: Finding) -> str:
    """Rewrite a group to name the files beside it. Raises OSError where one is not there."""
    path = Path(from_text(finding.path))
    place = finding.relative.rpartition("/")[0]
    with open_below(from_text(finding.root), place) as folder:
        num_children = rewrite_group(folder, path.name, path.parent)
    return f"rewrote {num_children} child paths"


def rewrite_group(folder: Folder, name: str, parent: Path, *, durable: bool = True) -> int:
    """Make a group name the files beside it as files of `parent`, where the folder lies or will.

    durable: as `Folder.write_atomic` has it. Returns how many they are. Raises OSError where one is
    not there.
    """
    data = folder.read(name, _MAX_BYTES)
    group = _decode(data)
    children = () if group is None else tuple(group.child_paths)
    if not children or not all(_is_file(folder, child) for child in children):
        raise OSError(f"{folder.path / name}: its children are not beside it")
    mode = stat.S_IMODE(folder.stat(name).st_mode)
    folder.write_atomic(name, make_group(data, parent), mode, durable=durable)
    return len(children)


def make_group(data: bytes, parent: Path) -> bytes:
    """The bytes of a group file with the same children, as files of `parent`; b"" for no group."""
    group = _decode(data)
    if group is None:
        return b""
    fresh = {name: str(parent / name) for name in group.child_paths}
    return msgspec.json.encode({"child_paths": fresh})


def _is_file(folder: Folder, name: str) -> bool:
    try:
        return stat.S_ISREG(folder.stat(name).st_mode)
    except OSError:
        return False


def _iter_groups(scope: Scope) -> Iterator[tuple[str, str, set[str], _Group | None]]:
    """(entry, path of the group file, names beside it, the group or None)."""
    for entry, files in scope.found.entries.items():
        for file in files:
            folder, _, name = file.name.rpartition("/")
            if name.startswith(GROUP_PREFIX):
                start = f"{folder}/" if folder else ""
                names = {
                    other.name[len(start) :] for other in files if other.name.startswith(start)
                }
                path = f"{scope.found.root}/{entry}/{file.name}"
                yield entry, path, names, _decode(read_head(path, _MAX_BYTES, scope.open_file))


def _decode(data: bytes) -> _Group | None:
    try:
        return msgspec.json.decode(data, type=_Group)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _list_foreign(path: str, names: set[str], group: _Group) -> list[Path]:
    """Children that are not, letter by letter, a file beside the group."""
    folder = path.rpartition("/")[0]
    parts = ((child, *child.rpartition("/")) for child in group.child_paths.values())
    return [
        Path(child) for child, parent, _, name in parts if parent != folder or name not in names
    ]


DANGLING = Rule(
    id="triton-group-dangling",
    severity="warning",
    summary="A Triton group names files that are gone: the kernel is compiled again",
    link="https://github.com/triton-lang/triton/pull/2511",
    repair=repair,
    fix="rewrite its child paths to the folder that holds it",
    before_run=True,
)
OUTSIDE = Rule(
    id="triton-group-outside",
    severity="error",
    summary="A Triton group points outside its folder: files of another cache are loaded",
    link="https://github.com/vllm-project/vllm/issues/41871",
    repair=repair,
    fix="rewrite its child paths to the folder that holds it",
)
GROUP = RuleGroup((DANGLING, OUTSIDE), ("triton", "inductor", "vllm"), check)

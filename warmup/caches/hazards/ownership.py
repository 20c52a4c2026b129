"""Code that a server will load and that someone else could have written."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from warmup.caches.hazards.rule import Finding, Rule, RuleGroup, Scope
from warmup.caches.remove import open_below
from warmup.words.escape import from_text
from warmup.words.names import FAMILY_NAMES

_LOADABLE = (".so", ".cubin", ".o", ".pkl", ".pickle", ".hsaco", ".dll")
_PICKLE_FOLDERS = ("fxgraph/", "aotautograd/", "torch_aot_compile/")  # torch 2.13, vllm 0.33
_OTHERS_WRITE = stat.S_IWOTH


def is_loadable(entry: str, name: str) -> bool:
    """Whether loading the file runs what is in it."""
    return (name or entry).endswith(_LOADABLE) or entry.startswith(_PICKLE_FOLDERS)


def check(scope: Scope) -> Iterator[Finding]:
    """One finding for each exposed file or folder of an entry that holds loadable code."""
    exposed = frozenset(scope.found.exposed)
    folders: dict[str, str] = {}
    for entry, files in scope.found.entries.items():
        for file in files:
            if file.is_exposed and is_loadable(entry, file.name):
                yield from _make(scope, entry, f"{entry}/{file.name}".rstrip("/"))
        if exposed and (loadable := [file for file in files if is_loadable(entry, file.name)]):
            holder = entry if loadable[0].name else entry.rpartition("/")[0]
            for folder in {"", holder} & exposed:
                folders.setdefault(folder, entry if folder else "")
    for folder, entry in folders.items():
        yield from _make(scope, entry, folder)


def _make(scope: Scope, entry: str, relative: str) -> Iterator[Finding]:
    path = f"{scope.found.root}/{relative}".rstrip("/")
    try:
        found = Path(path).stat(follow_symlinks=not relative)
    except OSError:
        return
    is_ours = found.st_uid == os.geteuid()
    if found.st_uid not in (0, os.geteuid()):
        message = f"it belongs to user {found.st_uid}"
    elif found.st_mode & _OTHERS_WRITE and not found.st_mode & stat.S_ISVTX:
        message = f"everyone may write it (mode {stat.S_IMODE(found.st_mode):o})"
    else:
        return
    is_repairable = is_ours or (os.geteuid() == 0 and found.st_uid == 0)
    yield WRITABLE.make_finding(scope, path, message, entry=entry, is_repairable=is_repairable)


def repair(finding: Finding) -> str:
    """Take away the right of others to write. Whose file it is stays a human's business.

    A file of several names is left alone: one of them may lie outside the cache.
    """
    folder, _, name = finding.relative.rpartition("/")
    with open_below(from_text(finding.root), folder) as holder:
        if not name:
            return _close_to_others(holder.fd)
        if stat.S_ISDIR(holder.stat(name).st_mode):
            with holder.open_folder(name) as inside:
                return _close_to_others(inside.fd)
        fd = holder.open_file(name)
    try:
        if (links := os.fstat(fd).st_nlink) > 1:
            raise OSError(f"{finding.path}: a hard link, one of {links}")
        return _close_to_others(fd)
    finally:
        os.close(fd)


def _close_to_others(fd: int) -> str:
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    os.fchmod(fd, mode & ~_OTHERS_WRITE)
    return f"mode {mode:o} → {mode & ~_OTHERS_WRITE:o}"


WRITABLE = Rule(
    id="loadable-writable",
    severity="error",
    summary="Code that the server loads can be written by others, or belongs to another user",
    link="https://github.com/inducer/pycuda/issues/54",
    repair=repair,
    fix="take away the right of others to write",
)
GROUP = RuleGroup((WRITABLE,), FAMILY_NAMES, check)

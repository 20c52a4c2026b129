"""A torch extension's `lock` that a killed builder left: the next one waits for ever.

torch 2.13.0, utils/file_baton.py: the lock is the existence of the file. Its holder keeps it open
from making it to removing it, and ninja works in the folder, so a process that does neither is not
a holder. Holders in another container that shares the folder are not seen. AITER has a copy of it
(0.1.7, jit/utils/file_baton.py), whose locks are `build/lock_<module>`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from warmup.caches.hazards.rule import Finding, Rule, RuleGroup, Scope
from warmup.caches.remove import open_below
from warmup.words.escape import from_text
from warmup.words.files import Folder
from warmup.words.tree import Tree

_AITER = "lock_"


def check(scope: Scope) -> Iterator[Finding]:
    list_locks = _list_aiter if scope.family.name == "aiter" else _list_locks
    try:
        with Tree(Path(scope.found.root)) as tree:
            locks = list_locks(tree)
    except OSError:
        return  # the walk tells of it
    for entry, name in locks:
        lock = Path(scope.found.root) / name
        with contextlib.suppress(OSError):
            if find_holder(lock) is not None:
                continue
            is_ours = lock.lstat().st_uid == os.geteuid() or os.geteuid() == 0
            message = "no process holds this lock; whoever builds here waits for ever"
            if not is_ours:
                message = "this user sees no process that holds this lock, which another user made"
            yield LOCK.make_finding(scope, str(lock), message, entry=entry, is_repairable=is_ours)


def _list_locks(tree: Tree) -> list[tuple[str, str]]:
    """(entry, lock) of `<name>/lock` and `<python>_<accelerator>/<name>/lock`."""
    found = []
    for outer in ("", *_list_folders(tree, "")):
        for folder in _list_folders(tree, outer):
            with contextlib.suppress(OSError):  # gone, or not ours to read
                items = {item.name: item for item in tree.scan(folder)}
                if "lock" in items and items["lock"].is_file(follow_symlinks=False):
                    found.append((folder, f"{folder}/lock"))
    return found


def _list_aiter(tree: Tree) -> list[tuple[str, str]]:
    return [
        (f"build/{item.name.removeprefix(_AITER)}", f"build/{item.name}")
        for item in tree.scan("build")
        if item.name.startswith(_AITER) and item.is_file(follow_symlinks=False)
    ]


def _list_folders(tree: Tree, folder: str) -> list[str]:
    return [
        f"{folder}/{item.name}".lstrip("/")
        for item in tree.scan(folder)
        if item.is_dir(follow_symlinks=False)
    ]


def find_holder(lock: Path) -> int | None:
    """A process that has the lock file open, or works where its builder does; None if there is no
    lock."""
    try:
        with open_below(lock.parent) as folder:
            return _find_holder(folder, lock.name, lock.name)
    except FileNotFoundError:
        return None


def _find_holder(folder: Folder, name: str, called: str) -> int | None:
    """name: the lock's present one. called: what its builders call it."""
    wanted, inside = folder.stat(name), os.fstat(folder.fd)
    if called.startswith(_AITER):
        with contextlib.suppress(OSError):
            inside = os.stat(f"{called.removeprefix(_AITER)}/build", dir_fd=folder.fd)
    for pid in (int(number) for number in os.listdir("/proc") if number.isdigit()):  # noqa: PTH208
        if _is_same(f"/proc/{pid}/cwd", inside):
            return pid
        try:
            numbers = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - half a million of them
        except OSError:
            continue
        if any(_is_same(f"/proc/{pid}/fd/{number}", wanted) for number in numbers):
            return pid
    return None


def _is_same(path: str, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(Path(path).stat(), wanted)
    except OSError:
        return False


def repair(finding: Finding) -> str:
    """Remove the lock, if still no process holds it.

    It is renamed before the last look: a lock taken meanwhile is put back, not lost.
    """
    folder, _, name = finding.relative.rpartition("/")
    with open_below(from_text(finding.root), folder) as holder:
        _refuse_held(finding, holder, name, name)
        aside = f".{name}.{os.urandom(8).hex()}.tmp"
        holder.rename(name, aside)
        try:
            _refuse_held(finding, holder, aside, name)
        except OSError:
            holder.rename(aside, name)
            raise
        holder.unlink(aside)
    return "removed the lock"


def _refuse_held(finding: Finding, folder: Folder, name: str, called: str) -> None:
    pid = _find_holder(folder, name, called)
    if pid is not None:
        raise OSError(f"process {pid} now holds {finding.path}")


LOCK = Rule(
    id="torch-extension-lock",
    severity="error",
    summary="A killed builder left its lock (torch's, AITER's): the next one waits for ever",
    link="https://github.com/pytorch/pytorch/issues/189245",
    repair=repair,
    fix="remove the lock",
    before_run=True,
)
GROUP = RuleGroup((LOCK,), ("aiter", "torch_extensions"), check)

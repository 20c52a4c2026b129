"""A torch extension's `lock` that a killed builder left: the next one waits for ever.

torch 2.13.0, utils/file_baton.py: the lock is the existence of the file. Its holder keeps it open
from making it to removing it, and ninja works in the folder, so a process that does neither is not
a holder. Holders in another container that shares the folder are not seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from warmup.caches.hazards.rule import Finding, Rule, RuleGroup, Scope
from warmup.caches.remove import open_below
from warmup.words.escape import from_text
from warmup.words.files import Folder
from warmup.words.tree import Tree


def check(scope: Scope) -> Iterator[Finding]:
    try:
        with Tree(Path(scope.found.root)) as tree:
            yield from _check_tree(scope, tree)
    except OSError:
        return  # gone, or not ours to read: the walk tells of it


def _check_tree(scope: Scope, tree: Tree) -> Iterator[Finding]:
    for entry in _iter_locked(tree):
        lock = Path(scope.found.root) / entry / "lock"
        if find_holder(lock) is None:
            is_ours = lock.lstat().st_uid == os.geteuid() or os.geteuid() == 0
            message = "no process holds this lock; whoever builds here waits for ever"
            if not is_ours:
                message = "this user sees no process that holds this lock, which another user made"
            yield LOCK.make_finding(scope, str(lock), message, entry=entry, is_repairable=is_ours)


def _iter_locked(tree: Tree) -> Iterator[str]:
    """Folders that hold a file `lock`: `<name>` and `<python>_<accelerator>/<name>`."""
    for outer in ("", *_list_folders(tree, "")):
        for folder in _list_folders(tree, outer):
            items = {item.name: item for item in tree.scan(folder)}
            if "lock" in items and items["lock"].is_file(follow_symlinks=False):
                yield folder


def _list_folders(tree: Tree, folder: str) -> list[str]:
    return [
        f"{folder}/{item.name}".lstrip("/")
        for item in tree.scan(folder)
        if item.is_dir(follow_symlinks=False)
    ]


def find_holder(lock: Path) -> int | None:
    """A process that has the lock file open, or works in its folder; None if there is no lock."""
    try:
        with open_below(lock.parent) as folder:
            return _find_holder(folder, lock.name)
    except FileNotFoundError:
        return None


def _find_holder(folder: Folder, name: str) -> int | None:
    wanted, inside = folder.stat(name), os.fstat(folder.fd)
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
        _refuse_held(finding, holder, name)
        aside = f".{name}.{os.urandom(8).hex()}.tmp"
        holder.rename(name, aside)
        try:
            _refuse_held(finding, holder, aside)
        except OSError:
            holder.rename(aside, name)
            raise
        holder.unlink(aside)
    return "removed the lock"


def _refuse_held(finding: Finding, folder: Folder, name: str) -> None:
    pid = _find_holder(folder, name)
    if pid is not None:
        raise OSError(f"process {pid} now holds {finding.path}")


LOCK = Rule(
    id="torch-extension-lock",
    severity="error",
    summary="A torch extension's lock was left by a killed builder: the next one hangs for ever",
    link="https://github.com/pytorch/pytorch/issues/189245",
    repair=repair,
    fix="remove the lock",
    before_run=True,
)
GROUP = RuleGroup((LOCK,), ("torch_extensions",), check)

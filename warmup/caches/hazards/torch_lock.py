"""A torch extension's `lock` that a killed builder left: the next one waits for ever.

torch 2.13.0, utils/file_baton.py: the lock is the existence of the file. Its holder keeps it open
from making it to removing it, and ninja works in the folder, so a process that does neither is no
holder. Holders in another container that shares the folder are not seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from warmup.caches.hazards.rule import Finding, Group, Rule, Scope
from warmup.words.escape import from_text


def check(scope: Scope) -> Iterator[Finding]:
    for lock in _iter_locks(scope.root):
        holder = find_holder(lock)
        if holder is None:
            is_ours = lock.lstat().st_uid == os.geteuid() or os.geteuid() == 0
            entry = str(lock.parent.relative_to(scope.root))
            message = "no process holds this lock; whoever builds here waits for ever"
            if not is_ours:
                message = "this user sees no process that holds this lock, which another user made"
            yield LOCK.make_finding(scope, str(lock), message, entry=entry, is_repairable=is_ours)


def _iter_locks(root: Path) -> Iterator[Path]:
    """`<name>/lock` and `<python>_<accelerator>/<name>/lock`; links are not followed."""
    for folder in (root, *_iter_folders(root)):
        for inner in _iter_folders(folder):
            lock = inner / "lock"
            if lock.is_file() and not lock.is_symlink():
                yield lock


def _iter_folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as items:
            return [Path(each.path) for each in items if each.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def find_holder(lock: Path) -> int | None:
    """A process that has the lock file open, or works in its folder."""
    try:
        wanted = lock.stat()
        folder = lock.parent.stat()
    except OSError:
        return None
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):  # noqa: PTH208
        if _is_same(f"/proc/{pid}/cwd", folder):
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
    """Remove the lock, if still no process holds it."""
    lock = Path(from_text(finding.path))
    holder = find_holder(lock)
    if holder is not None:
        raise OSError(f"process {holder} now holds {lock}")
    lock.unlink(missing_ok=True)
    return "removed the lock"


LOCK = Rule(
    id="torch-extension-lock",
    severity="error",
    summary="A torch extension's lock was left by a killed builder: the next one hangs for ever",
    link="https://github.com/pytorch/pytorch/issues/189245",
    repair=repair,
    fix="remove the lock",
)
GROUP = Group((LOCK,), ("torch_extensions",), check)

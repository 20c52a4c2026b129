"""The Python files of a test tree, and why one of them could not be read."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from warmup.words.errors import UsageError


@dataclass(frozen=True)
class UnreadFile:
    """A file or folder that could not be read as Python."""

    file: str
    reason: str


def get_reason(error: BaseException) -> str:
    """Why a file could not be read as Python, in words."""
    if isinstance(error, SyntaxError):
        return f"not Python: {error.msg}" + (f", line {error.lineno}" if error.lineno else "")
    if isinstance(error, RecursionError | MemoryError):
        return "nested too deeply"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def iter_files(paths: Iterable[Path], problems: list[UnreadFile]) -> Iterator[Path]:
    """Files once each, in a stable order; links are followed, a folder met again is left out."""
    todo = list(paths)[::-1]
    for path in todo:
        if not path.exists() and not path.is_symlink():
            raise UsageError(f"no such file or folder: {path}", hint="give the folder of the tests")
    seen: set[tuple[int, int]] = set()
    while todo:
        path = todo.pop()
        try:
            status = path.stat()
            children = sorted(path.iterdir(), reverse=True) if stat.S_ISDIR(status.st_mode) else []
        except OSError as error:
            problems.append(UnreadFile(str(path), get_reason(error)))
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        if not stat.S_ISDIR(status.st_mode):
            yield path
        todo += [child for child in children if _is_wanted(child)]


def _is_wanted(child: Path) -> bool:
    """Python files, folders that may hold some, and links that lead nowhere else."""
    if child.suffix == ".py":
        return True
    try:
        is_folder = stat.S_ISDIR(child.stat().st_mode)
    except OSError as error:
        return error.errno == errno.ELOOP
    return is_folder and not child.name.startswith(".") and child.name != "__pycache__"

"""One POSIX shared memory segment: a file of /dev/shm that says who made it.

Not `multiprocessing.shared_memory`: before Python 3.13 an attaching process registers the segment
with its own resource tracker, which unlinks it when that process ends (sglang#21665). Here only
`unlink` unlinks, and what a killed creator left is swept by the next start (`sweep`).

A name is `warmup-ci.<pid namespace>.<pid>.<start time>.<number>`: the creator, and a cookie that
another process given the same pid cannot have.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from functools import lru_cache
from pathlib import Path

DIRECTORY = Path("/dev/shm")
PREFIX = "warmup-ci"

_numbers = itertools.count()


def get_start_time(pid: int | str) -> int:
    """Clock ticks from boot to the start of process `pid` (proc_pid_stat(5), field 22).

    Raises OSError where there is no such process; a zombie counts as none.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise ProcessLookupError(f"process {pid} is a zombie")
    return int(fields[19])


def _get_pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - a link to a namespace, not a file


@lru_cache(maxsize=1)
def _own_cookie(pid: int) -> str:
    """Cached by pid, so that a fork does not sign with its parent's name."""
    return f"{PREFIX}.{_get_pid_namespace()}.{pid}.{get_start_time('self')}"


def create(content: memoryview, directory: Path = DIRECTORY) -> str:
    """Make a segment that holds `content` (bytes, not empty) and return its name.

    Pages are reserved before any is written, so a full tmpfs is an error here and never a SIGBUS
    (sglang#30602). Raises OSError, ENOSPC among them, and leaves nothing then.
    """
    name = f"{_own_cookie(os.getpid())}.{next(_numbers)}"
    path = directory / name
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor, no path
            os.posix_fallocate(fd, 0, content.nbytes)
            rest = content
            while rest:
                rest = rest[file.write(rest) :]
    except BaseException:
        path.unlink()
        raise
    return name


def read(name: str, into: memoryview, directory: Path = DIRECTORY) -> None:
    """Fill `into` from the segment, whole.

    A copy and no mapping: one would hold a descriptor for as long as a request waits. Raises
    OSError if the segment is not there, is not a regular file, or is too short.
    """
    fd = os.open(directory / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(fd, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor, no path
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size < into.nbytes:
            raise OSError(f"{name}: {found.st_size} bytes, {into.nbytes} expected")
        rest = into
        while rest:
            num_read = file.readinto(rest)
            if not num_read:
                raise OSError(f"{name} got shorter while it was read")
            rest = rest[num_read:]


def unlink(name: str, directory: Path = DIRECTORY) -> None:
    """Remove the name; that it is gone already is fine (any of several may come first)."""
    with contextlib.suppress(FileNotFoundError):
        (directory / name).unlink()


def sweep(directory: Path = DIRECTORY) -> list[str]:
    """Remove the segments whose creator is dead, and no others; returns their names.

    Dead is known only of our own pid namespace. Age says nothing: a live server may keep a
    segment for long (sglang#28089). Another user's segments are left to that user.
    """
    removed = []
    for path in directory.glob(f"{PREFIX}.*.*.*.*"):
        if _has_dead_creator(path.name):
            with contextlib.suppress(FileNotFoundError, PermissionError):
                path.unlink()
                removed.append(path.name)
    return removed


def _has_dead_creator(name: str) -> bool:
    fields = name.split(".")[1:]
    if len(fields) != 4 or not all(field.isdecimal() for field in fields):
        return False
    namespace, pid, start_time, _ = map(int, fields)
    if namespace != _get_pid_namespace():
        return False
    try:
        return get_start_time(pid) != start_time
    except (FileNotFoundError, ProcessLookupError):
        return True

"""Bound the disk use of a log that a server is still appending to, without its help.

The server writes to a plain file with O_APPEND: a pipe would stall it, and RLIMIT_FSIZE would
break its caches too. So the middle of the file is given back to the filesystem in place: head and
tail stay where they are, and what is between reads as NUL bytes that take no room.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

_FALLOC_FL_KEEP_SIZE = 0x01  # linux/falloc.h
_FALLOC_FL_PUNCH_HOLE = 0x02
_NO_PUNCH_HOLE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY)


class LogFile:
    """A log file of which at most about `max_bytes` stay on disk.

    A quarter is the head (how the server was started), at least half follows the writer. Between
    two calls of `trim` a writer may go beyond the bound by what it writes meanwhile.
    """

    def __init__(self, path: Path, max_bytes: int, *, dir_fd: int | None = None) -> None:
        """dir_fd: of the path's folder; then nothing else is reached, whatever has its name."""
        self.path = path
        self._name = path if dir_fd is None else path.name
        self._dir_fd = dir_fd
        self._max_bytes = max_bytes
        self._is_bounded = True

    def trim(self) -> str | None:
        """Give the middle back if there is too much. Cheap (one stat) when there is not.

        Returns a sentence the first time that the bound cannot be kept, and None otherwise.
        """
        if not self._is_bounded:
            return None
        try:
            status = os.stat(self._name, dir_fd=self._dir_fd, follow_symlinks=False)
            if status.st_blocks * 512 > self._max_bytes:
                self._drop_middle()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._is_bounded = False
            return f"size of {self.path} is not bounded: {error.strerror}"
        return None

    def _drop_middle(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._name, flags, dir_fd=self._dir_fd)
        try:
            status = os.fstat(fd)
            block = max(status.st_blksize, 512)  # only whole blocks are given back
            start = -(-self._max_bytes // 4 // block) * block
            end = (status.st_size - self._max_bytes // 2) // block * block
            if end > start:
                _drop_range(fd, start, end)
        finally:
            os.close(fd)


def _drop_range(fd: int, start: int, end: int) -> None:
    try:
        _punch_hole(fd, start, end - start)
    except OSError as error:
        if error.errno not in _NO_PUNCH_HOLE:
            raise
        _rewrite_without(fd, start, end)


def _punch_hole(fd: int, start: int, num_bytes: int) -> None:
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    fallocate = _find_fallocate()
    if fallocate is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if fallocate(fd, mode, start, num_bytes) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@lru_cache(maxsize=1)
def _find_fallocate() -> Callable[[int, int, int, int], int] | None:
    libc = ctypes.CDLL(None, use_errno=True)
    # musl has one, with 64-bit offsets, under the plain name
    name = "fallocate64" if hasattr(libc, "fallocate64") else "fallocate"
    if not hasattr(libc, name):
        return None
    offset = ctypes.c_int64
    signature = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_int, ctypes.c_int, offset, offset, use_errno=True
    )
    return signature((name, libc))


def _rewrite_without(fd: int, start: int, end: int) -> None:
    """The same layout where a filesystem has no punch-hole: cut, grow again, append the tail.

    Appending writers go on behind it. What they write during this call may be lost or land in
    the gap; nothing that was there before is.
    """
    tail = os.pread(fd, max(os.fstat(fd).st_size - end, 0), end)
    os.ftruncate(fd, start)
    os.ftruncate(fd, end)
    view = memoryview(tail)
    while view:
        view = view[os.write(fd, view) :]

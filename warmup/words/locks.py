"""Locks between processes: filelock's, on files that are opened here and never unlinked.

A lock that is a file's mere existence survives SIGKILL and hangs the next one for ever
(pytorch#189245, sglang#35989); the kernel frees a flock with its holder. We open the file, relative
to a folder's descriptor and without following a link, and filelock locks that descriptor. So it
cannot fall back to its soft lock where a filesystem lacks flock: that is an error here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import stat
import time
from pathlib import Path

from warmup.words.errors import HostError
from warmup.words.files import Folder

_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_RETRY_S = 0.01

_held: set[int] = set()


class Lock:
    """A lock that this process holds until `close`, or until its end, however it ends.

    A child that it forks does not hold it. path: what the file is called, for messages.
    """

    def __init__(self, fd: int, path: Path) -> None:
        self.path = path
        self._fd = fd
        _register_release_at_fork()
        _held.add(fd)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The file stays: unlinking it would let two processes hold two files of one name."""
        if self._fd >= 0:
            _held.discard(self._fd)
            os.close(self._fd)
            self._fd = -1

    def sign(self) -> None:
        """Leave our pid for `get_holder`. On a full disk others learn less; it holds anyway."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)


def try_lock(
    folder: Folder, name: str, *, create: bool = True, patience_s: float = 0.0
) -> Lock | None:
    """Take the lock `name` of a folder; None while another holds it, in this process or elsewhere.

    create: make the file where it is missing; without, a read-only folder will do. patience_s: how
    long to go on trying, for a lock that others only look at (`is_held`).
    Raises FileNotFoundError without the file or folder; HostError where it is a link, a hard link
    or no file at all, where it cannot be opened, and where the filesystem lacks flock.
    """
    path, deadline = folder.path / name, time.monotonic() + patience_s
    while True:
        fd = _open(folder, name, create)
        try:
            is_taken = _take(fd, path)
            is_current = _is_current(fd, folder, name)
        except BaseException:
            os.close(fd)
            raise
        if is_taken and is_current:
            return Lock(fd, path)
        os.close(fd)
        if is_taken:
            continue  # the file was replaced since it was opened: its lock guards nothing
        if time.monotonic() >= deadline:
            return None
        time.sleep(_RETRY_S)


def create_lock(folder: Folder, name: str) -> Lock | None:
    """Take the lock of a new file; None where it is there already, and for `try_lock` to take.

    Nobody holds the lock of a new file but whoever looks (`is_held`), for a moment: so there is
    nothing to ask filelock, which takes longer to load than all of `exec`. Raises HostError.
    """
    path = folder.path / name
    try:
        fd = folder.create_file(name)
    except FileExistsError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        os.close(fd)
        raise _get_error(error, path) from error
    return Lock(fd, path)


def is_held(folder: Folder, name: str) -> bool:
    """Whether a process holds the lock `name`; this look disturbs no other look.

    False without the file, and for what `try_lock` refuses; True where it cannot be told.
    """
    try:
        fd = folder.open_file(name)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ELOOP, errno.EINVAL, errno.ENXIO)
    try:
        # Shared, which filelock does not know: of two exclusive looks one would see the other.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def get_holder(folder: Folder, name: str) -> str:
    """Who says to hold it. A hint for people: the pid may be of another container."""
    try:
        pid = folder.read(name, 64).strip()
    except OSError:
        return "another run"
    return f"process {pid.decode('ascii')}" if pid.isdigit() else "another run"


def find_flock_fault(path: str | Path) -> str | None:
    """Why flock does not exclude on this file or folder; None where it does or cannot be tried.

    Two descriptions of one file conflict even within a process (flock(2)), so nothing is written.
    """
    try:
        first = _open_to_try(path)
    except OSError:
        return None
    try:
        second = _open_to_try(path)
        try:
            if not _take(first, Path(path)):
                return None  # another process holds it, so it does exclude
            return "two holders get the same flock" if _take(second, Path(path)) else None
        finally:
            os.close(second)
    except HostError as error:
        return error.cause
    except OSError:
        return None
    finally:
        os.close(first)


def _open(folder: Folder, name: str, create: bool) -> int:
    path = folder.path / name
    try:
        try:
            flags = os.O_RDWR | (os.O_CREAT if create else 0) | _FLAGS
            fd = os.open(name, flags, 0o600, dir_fd=folder.fd)
        except OSError as error:
            if create or error.errno not in _READ_ONLY:
                raise
            fd = os.open(name, os.O_RDONLY | _FLAGS, dir_fd=folder.fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise HostError(
            f"cannot open the lock {path}",
            cause="it is a symbolic link"
            if error.errno == errno.ELOOP
            else f"{error.strerror} (errno {error.errno})",
            hint="make the home writable, or set WARMUP_CI_HOME to a folder that is",
        ) from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(fd)
        is_linked = stat.S_ISREG(status.st_mode)
        raise HostError(
            f"cannot use the lock {path}",
            cause=f"it has {status.st_nlink} hard links" if is_linked else "it is not a file",
            hint="we make no such file: look who did, and remove it",
        )
    return fd


def _open_to_try(path: str | Path) -> int:
    try:
        return os.open(path, os.O_RDWR | _FLAGS)
    except OSError as error:
        if error.errno != errno.EISDIR and error.errno not in _READ_ONLY:
            raise
        return os.open(path, os.O_RDONLY | _FLAGS)


def _take(fd: int, path: Path) -> bool:
    import filelock

    try:
        return filelock.lock_descriptor(fd, blocking=False)
    except OSError as error:
        raise _get_error(error, path) from error


def _get_error(error: OSError, path: Path) -> OSError | HostError:
    if error.errno not in _UNSUPPORTED:
        return error
    return HostError(
        f"file locks do not work under {path.parent}",
        cause=f"flock fails: {error.strerror} (errno {error.errno})",
        hint="set WARMUP_CI_HOME to a folder on a local filesystem",
    )


def _is_current(fd: int, folder: Folder, name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), folder.stat(name))
    except FileNotFoundError:
        return False


@functools.cache
def _register_release_at_fork() -> None:
    """A forked child shares its parent's locks as long as it has their descriptors."""
    os.register_at_fork(after_in_child=_release)


def _release() -> None:
    while _held:
        os.close(_held.pop())

"""One run at a time per launch: flock on a file that is never unlinked.

A lock that is a file's mere existence survives SIGKILL and hangs the next one for ever
(pytorch#189245, sglang#35989); a flock ends with its holder. Where the filesystem does not know
flock we say so loudly: falling back to a softer lock silently is how filelock fails on ENOSYS.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from warmup.state.home import Home
from warmup.words.errors import HostError, WarmupError

_POLL_S = 0.1
_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)


@contextlib.contextmanager
def hold_launch_lock(
    home: Home,
    launch_key: str,
    *,
    deadline: float | None = None,
    on_wait: Callable[[str], None] = lambda holder: None,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[Path]:
    """Hold the lock of one launch; yields its file.

    deadline: of `time.monotonic`, None for ever. on_wait: called once if another holds it, with
    who that is. wait: sleeps that many seconds; what it raises (Cancelled) ends the waiting.
    Raises WarmupError at the deadline, HostError where flock or the folder is not to be had.
    """
    path = home.locks / f"{launch_key}.lock"
    fd = _open(path)
    try:
        _acquire(fd, path, deadline, on_wait, wait)
        _sign(fd)
        yield path
    finally:
        os.close(fd)


def try_lock(fd: int, path: Path) -> bool:
    """Take the exclusive flock of an open file if it is free. Raises HostError without flock."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        raise HostError(
            f"file locks do not work under {path.parent}",
            cause=f"flock: {error.strerror} (errno {error.errno})",
            hint="set WARMUP_CI_HOME to a folder on a local filesystem",
        ) from error
    return True


def _acquire(
    fd: int,
    path: Path,
    deadline: float | None,
    on_wait: Callable[[str], None],
    wait: Callable[[float], None],
) -> None:
    has_told = False
    while True:
        if try_lock(fd, path):
            if _is_current(fd, path):
                return
            # The home was removed and made anew meanwhile: this lock guards a dead file.
            fresh = _open(path)
            os.dup2(fresh, fd, inheritable=False)
            os.close(fresh)
            continue
        if not has_told:
            has_told = True
            on_wait(_get_holder(fd))
        if deadline is not None and time.monotonic() >= deadline:
            raise WarmupError(
                "another run is still warming this launch",
                cause=f"{_get_holder(fd)} holds {path}",
                hint="wait for it, or give more time with --deadline",
            )
        wait(_POLL_S)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostError(
            f"cannot open the lock {path}",
            cause=f"{error.strerror} (errno {error.errno})",
            hint="make the home writable, or set WARMUP_CI_HOME to a folder that is",
        ) from error


def _is_current(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _sign(fd: int) -> None:
    """Leave our pid for whoever waits. On a full disk they learn less; the lock holds anyway."""
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


def _get_holder(fd: int) -> str:
    """Who says to hold it. A hint for people: the pid may be of another container."""
    pid = os.pread(fd, 32, 0).strip()
    return f"process {pid.decode('ascii')}" if pid.isdigit() else "another run"

"""Write a file whole or not at all, whatever ends us meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from pathlib import Path

# Ours alone, so that collecting what a SIGKILL left can never take a foreign file.
_PREFIX = ".warmup-ci-"
_SUFFIX = ".tmp"


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write `data` to `path`: temporary file in the same folder, fsync, rename, fsync folder.

    Readers see the old file or the new one. Raises OSError (ENOSPC, EROFS, EISDIR, …) with the
    old file intact and no temporary left. `mode` is what the umask leaves of it.
    """
    temporary = path.parent / f"{_PREFIX}{os.urandom(8).hex()}{_SUFFIX}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, mode)
    try:
        try:
            _write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
    except BaseException:
        # A signal handler may raise here too. Gone already: the rename had worked.
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def collect_temporaries(folder: Path, older_than_s: float = 3600.0) -> list[Path]:
    """Remove what killed writers left in `folder`; returns the files removed.

    Only regular files of `write_atomic`'s own naming, older than `older_than_s` seconds, so that
    a writer at work loses nothing. A folder that is missing or not ours to change gives [].
    """
    removed: list[Path] = []
    oldest = time.time() - older_than_s
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        for path in sorted(folder.iterdir()):
            if not (path.name.startswith(_PREFIX) and path.name.endswith(_SUFFIX)):
                continue
            with contextlib.suppress(FileNotFoundError):  # another collector was faster
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and status.st_mtime <= oldest:
                    path.unlink()
                    removed.append(path)
    return removed


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network filesystems cannot sync a folder; the rename itself has happened.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)

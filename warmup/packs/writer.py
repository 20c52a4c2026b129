"""Files on their way into a private folder: each of its size, sha256, time and mode."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from typing import IO

from warmup.packs.contents import PackFile
from warmup.words.errors import IntegrityError
from warmup.words.escape import from_text
from warmup.words.files import Folder

_BLOCK = 1 << 20
_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_NO_CLONES = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM)


class FileWriter:
    """Writes below a folder. The one that was written in last stays open: files come in order.

    what: is refused where a file is not what it must be. Use as a context manager.
    """

    def __init__(self, into: Folder, what: str) -> None:
        self._into, self._what = into, what
        self._path = ""
        self._folder = Folder(os.dup(into.fd), into.path)

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.close()

    def write(
        self, path: str, wanted: PackFile, source: IO[bytes], *, can_clone: bool = False
    ) -> None:
        """can_clone: whether `source` is a file, to be shared by a reflink where the file system
        has them. Never a hard link: what a server writes must not reach what is mounted.

        Raises IntegrityError where its sha256 is another, OSError.
        """
        folder, _, name = from_text(path).rpartition("/")
        if folder != self._path:
            self._enter(folder)
        digest = hashlib.sha256()
        fd = self._folder.create_file(name, mode=0o700 if wanted.executable else 0o600)
        with os.fdopen(fd, "wb") as out:
            is_clone = can_clone and _clone(source.fileno(), fd)
            while not is_clone and (data := source.read(_BLOCK)):
                digest.update(data)
                out.write(data)
            out.flush()
            os.utime(fd, ns=(wanted.mtime_ns, wanted.mtime_ns))
        if is_clone:
            with os.fdopen(self._folder.open_file(name), "rb", buffering=0) as file:
                while data := file.read(_BLOCK):
                    digest.update(data)
        if digest.hexdigest() != wanted.sha256:
            cause = f"{path!r} is not what its sha256 says"
            raise IntegrityError(f"{self._what} refused", cause=cause)

    def _enter(self, path: str) -> None:
        self._folder.close()
        self._folder = Folder(os.dup(self._into.fd), self._into.path)
        for part in filter(None, path.split("/")):
            with self._folder as above:
                self._folder = above.open_folder(part, create=True)
        self._path = path


def _clone(source: int, to: int) -> bool:
    try:
        fcntl.ioctl(to, _FICLONE, source)
    except OSError as error:
        if error.errno not in _NO_CLONES:
            raise
        return False
    return True

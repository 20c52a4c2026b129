"""Many folders below one, by descriptor: what walks a tree that others may write in."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from warmup.words import mounts
from warmup.words.files import Folder, open_folder

_MAX_OPEN = 64


class Tree:
    """Folders below one root, each opened part by part; no link below the root is followed.

    The root itself may be reached through links: `real` is where it lay when it was opened. What
    another mount covers is not entered. Those that were opened last stay open, so that a walk from
    folder to folder opens each once, at any depth. Not for two threads. Use as a context manager.
    """

    def __init__(self, root: str | Path) -> None:
        """Raises OSError where the root is not a folder that can be opened."""
        self.real = os.path.realpath(root, strict=True)
        with Folder.open(Path(self.real)) as folder:
            self._open = {"": os.dup(folder.fd)}
        self._mounts = mounts.list_below(self.real)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def get_fd(self, folder: str) -> int:
        """The folder at a relative path, "" for the root; good until the next call.

        Raises OSError: ELOOP where a link is on the way, EXDEV where another mount begins.
        """
        nearest, names = folder, []
        while nearest not in self._open:
            nearest, _, name = nearest.rpartition("/")
            names.append(name)
        fd = self._open[nearest]
        while names:
            name = names.pop()
            nearest = f"{nearest}/{name}" if nearest else name
            if nearest in self._mounts:
                raise OSError(errno.EXDEV, "another mount begins there", nearest)
            fd = open_folder(name, fd)
            self._keep(nearest, fd)
        return fd

    def scan(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """What lies in it, as `os.scandir` has it. Raises OSError as `get_fd`."""
        with os.scandir(self.get_fd(folder)) as items:
            yield from items

    def locate(self, path: str) -> tuple[int, str]:
        """The folder that holds what lies at a relative path, and its name there."""
        folder, _, name = path.rpartition("/")
        return self.get_fd(folder), name

    def _keep(self, folder: str, fd: int) -> None:
        if len(self._open) >= _MAX_OPEN:
            oldest = next(filter(None, self._open))
            os.close(self._open.pop(oldest))
        self._open[folder] = fd

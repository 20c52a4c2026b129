"""What a server leaves in /dev/shm when it is killed: segments, semaphores, an empty folder.

Nothing is known by its name. What was not there before the server, belongs to us, and was seen in
use by a process of the server's tree is removed after the server's end if nobody uses it then.
Files deeper than /dev/shm itself are somebody's cache (HF_HOME may lie there), never a segment.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from warmup.supervise.tree import proc
from warmup.words.files import Folder

SHM = Path("/dev/shm")
_LOOK_S = 1.0
Identity = tuple[int, int]  # device, inode


class LeakWatch:
    """Those of one server; made before it starts. seen: in use by a process of its tree."""

    def __init__(self) -> None:
        self._before = list_own().keys()
        self.seen: set[Identity] = set()
        self._next_look = 0.0

    def look(self, list_pids: Callable[[], list[int]], *, is_due: bool = False) -> None:
        """Once a second, or if `is_due`. Costs a listing of /dev/shm where there is nothing new."""
        if is_due or time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_S
            new = list_own().keys() - self._before - self.seen
            if new:
                self.seen |= new & list_used(list_pids())

    def remove(self) -> None:
        """Best effort; what another process uses meanwhile stays."""
        left = {each: name for each, name in list_own().items() if each in self.seen}
        if not left:
            return
        used = list_used(proc.list_pids())
        with contextlib.suppress(OSError), Folder.open(SHM) as folder:
            for each in left.keys() - used:
                with contextlib.suppress(OSError):  # gone, or a folder that is not empty
                    status = folder.stat(left[each])
                    if (status.st_dev, status.st_ino) != each:
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        folder.rmdir(left[each])
                    else:
                        folder.unlink(left[each])


def list_own() -> dict[Identity, str]:
    """Names of this user's files and folders right in /dev/shm; none where there is none."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(SHM) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                status = entry.stat(follow_symlinks=False)
                is_kind = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
                if is_kind and status.st_uid == os.geteuid():
                    found[status.st_dev, status.st_ino] = entry.name
    return found


def list_used(pids: Iterable[int]) -> set[Identity]:
    """What these processes have mapped or open in /dev/shm, and the folders there that hold it.

    Not by psutil: it reads smaps, for which the kernel walks every page table.
    """
    found: set[Identity] = set()
    for pid in pids:
        for path, identity in (*_list_mapped(pid), *_list_opened(pid)):
            found.add(identity)
            top = SHM / Path(path).relative_to(SHM).parts[0]
            with contextlib.suppress(OSError):
                status = top.lstat()
                found.add((status.st_dev, status.st_ino))
    return found


def _list_mapped(pid: int) -> Iterator[tuple[str, Identity]]:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as lines:  # noqa: PTH123
        for line in lines:
            if b" /dev/shm/" in line:
                _, _, _, device, inode, path = line.split(None, 5)
                major, minor = (int(word, 16) for word in device.split(b":"))
                yield os.fsdecode(path.strip()), (os.makedev(major, minor), int(inode))


def _list_opened(pid: int) -> Iterator[tuple[str, Identity]]:
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - hot
            with contextlib.suppress(OSError):
                path = os.readlink(f"/proc/{pid}/fd/{name}")  # noqa: PTH115
                if path.startswith("/dev/shm/"):
                    status = os.stat(f"/proc/{pid}/fd/{name}")  # noqa: PTH116
                    yield path, (status.st_dev, status.st_ino)

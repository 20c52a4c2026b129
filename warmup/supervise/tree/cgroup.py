"""One control group per server, where this process may make one: it is killed at one blow.

Version 2, below our own group, with Linux 5.14's `cgroup.kill`: containers with a writable
/sys/fs/cgroup, root on a host, and users whose session is delegated to them. The cookie's number is
the name, so nobody else has it. Where there is none, trees are ended without.
"""

from __future__ import annotations

import contextlib
import os
import time
from types import SimpleNamespace

from warmup.supervise.tree import proc

_PREFIX = "warmup-ci-"
_REMOVE_S = 1.0
_MANY = 512  # processes; fewer are killed one by one, sparing multiprocessing's trackers


def find_parent() -> str:
    """The folder of this process's own group; "" where version 2 is not there or we may not write.

    cgroups(7), "/proc/pid/cgroup".
    """
    from warmup.words.mounts import list_mounts  # what the shim need not load

    own = (proc.find_text("/proc/self/cgroup") or b"").decode("utf-8", "surrogateescape")
    own = next((line[3:] for line in own.splitlines() if line.startswith("0::/")), "")
    for mount in list_mounts() if own else ():
        if mount.kind == "cgroup2" and os.path.commonpath((mount.root, own)) == mount.root:
            folder = os.path.normpath(f"{mount.point}/{os.path.relpath(own, mount.root)}")
            return folder if os.access(folder, os.W_OK) else ""
    return ""


class ControlGroup(SimpleNamespace):
    """The group of one server; "" as its path is a group that never has members."""

    path: str

    def __init__(self, path: str) -> None:
        super().__init__(path=path)

    def __hash__(self) -> int:  # type: ignore[override] # SimpleNamespace, which may change, has none
        return hash(self.path)

    @classmethod
    def get(cls, parent: str, number: int) -> ControlGroup:
        """That of the server which wears this cookie, there or not; 0: it wears none."""
        return cls(f"{parent}/{_PREFIX}{number}") if parent and number else NO_GROUP

    def make(self) -> ControlGroup:
        """Make it; NO_GROUP where it cannot be had."""
        try:
            if not self.path:
                return NO_GROUP
            os.mkdir(self.path)  # noqa: PTH102 - the shim does without pathlib
        except OSError:
            return NO_GROUP
        if not os.access(f"{self.path}/cgroup.kill", os.W_OK):
            self.remove()
            return NO_GROUP
        return self

    def enter(self) -> None:
        """Put this process into it, and all that it will fork. Best effort: members may leave."""
        if self.path:
            with contextlib.suppress(OSError):
                self._write("cgroup.procs", b"0")

    def list_pids(self) -> list[int]:
        try:
            with open(f"{self.path}/cgroup.procs", "rb") as file:  # noqa: PTH123
                return [int(word) for word in file.read().split()]
        except OSError:
            return []

    def kill(self, *, min_size: int = 1) -> list[int]:
        """SIGKILL to all members, if there are so many. Answers who they were."""
        pids = self.list_pids() if self.path else []
        if len(pids) < min_size:
            return []
        try:
            self._write("cgroup.kill", b"1")
        except OSError:
            return []
        return pids

    def kill_many(self) -> list[int]:
        """The same where one by one would take long: a tree of so many may be growing."""
        return self.kill(min_size=_MANY)

    def remove(self) -> None:
        """Best effort: it stays as long as a member lives.

        Linux 6.18 takes a member out only after its parent could reap it, so it is tried again.
        """
        until = time.monotonic() + _REMOVE_S
        while self.path and os.path.isdir(self.path):  # noqa: PTH112
            with contextlib.suppress(OSError):
                os.rmdir(self.path)  # noqa: PTH106
                return
            if self.list_pids() or time.monotonic() >= until:
                return
            time.sleep(0.001)

    def _write(self, name: str, text: bytes) -> None:
        fd = os.open(f"{self.path}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text)
        finally:
            os.close(fd)


NO_GROUP = ControlGroup("")


def list_groups(parent: str, cookies: range) -> list[ControlGroup]:
    """Those that a run left behind, by its cookies."""
    try:
        names = os.listdir(parent) if parent else []  # noqa: PTH208
    except OSError:
        return []
    numbers = [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]
    return [
        ControlGroup(f"{parent}/{_PREFIX}{number}")
        for number in numbers
        if number.isdigit() and int(number) in cookies
    ]

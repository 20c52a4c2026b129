"""Which file system a path lies on, from /proc/self/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

_OCTAL = re.compile(r"\\(\d{3})")


class Mount(NamedTuple):
    """point: where it is mounted. kind: `ext4`, `nfs4`, … options: also its super block's.

    root: the folder of the file system that is seen there.
    """

    point: str
    kind: str
    options: frozenset[str]
    root: str = "/"


def parse_mounts(text: str) -> list[Mount]:
    """Each line of a mountinfo file, in order: a later one hides an earlier one at its point."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if separator and len(left) >= 6 and len(right) >= 3:
            root, point = (_OCTAL.sub(lambda m: chr(int(m[1], 8)), word) for word in left[3:5])
            options = frozenset(f"{left[5]},{right[2]}".split(","))
            mounts.append(Mount(point, right[0], options, root))
    return mounts


def list_mounts() -> list[Mount]:
    """This process's own, in order; none where the kernel does not say."""
    return parse_mounts(_read())


def find_mount(path: str, text: str | None = None) -> Mount | None:
    """The mount that holds `path`; None where the kernel does not say.

    text: of a mountinfo file, this process's own if None.
    """
    real = os.path.realpath(path) + "/"
    found = None
    for mount in parse_mounts(_read() if text is None else text):
        inside = real.startswith(mount.point.rstrip("/") + "/")
        if inside and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def list_below(real: str) -> frozenset[str]:
    """Where other mounts begin below a folder, relative to it; `real` has no links in it."""
    prefix = real.rstrip("/") + "/"
    points = (mount.point for mount in list_mounts())
    return frozenset(point[len(prefix) :] for point in points if point.startswith(prefix))


def _read() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""

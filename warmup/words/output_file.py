"""Files whose names a user gave for what a command is to write: also a pipe, or /dev/stdout."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from warmup.words.files import write_atomic


def write_output(path: Path, data: bytes) -> None:
    """Write a file for others to read, whole or not at all; its folder exists.

    A pipe or a character device is written into: root would put a file in place of /dev/null. A
    link to a file is replaced, and what it points to stays. Raises OSError; ENXIO for a pipe that
    nobody reads, EINVAL for what no file may replace.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        write_atomic(path, data, mode=0o644)
        return
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        raise OSError(errno.EINVAL, "neither a file nor a pipe", str(path))
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(fd, "wb") as file:
        os.set_blocking(fd, True)  # only the opening must not wait
        file.write(data)

"""Hash many files with every core: sha256 releases the interpreter lock while it works."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import islice
from typing import TypeVar

_BUFFER_BYTES = 1 << 18
_CHUNK_ITEMS = 32  # a task for each file would cost more memory than the files' records
_local = threading.local()

Item = TypeVar("Item")
Result = TypeVar("Result")


def hash_file(path: str, *, inside: str | None = None) -> str:
    """sha256 of a regular file, hex.

    Raises OSError where it cannot be read, is no regular file, or, with `inside` (a real path),
    lies elsewhere once symbolic links are resolved. Never blocks on a FIFO.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path}: no regular file")
        if inside is not None and not _is_inside(fd, inside):
            raise OSError(f"{path}: outside {inside}")
        digest, buffer = sha256(), _get_buffer()
        while size := os.readv(fd, [buffer]):
            digest.update(buffer[:size])
        return digest.hexdigest()
    finally:
        os.close(fd)


def _is_inside(fd: int, folder: str) -> bool:
    # One call instead of a `realpath` for each file; pathlib would cost more than the call.
    return os.readlink(f"/proc/self/fd/{fd}").startswith(folder + "/")  # noqa: PTH115


def _get_buffer() -> memoryview:
    """This thread's own, made once: allocating one for each file costs as much as hashing it."""
    if not hasattr(_local, "buffer"):
        _local.buffer = memoryview(bytearray(_BUFFER_BYTES))
    buffer: memoryview = _local.buffer
    return buffer


def map_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """`map` on one thread for each core; results in order, an exception where it occurred."""

    def work(chunk: list[Item]) -> list[Result]:
        return [function(item) for item in chunk]

    source = iter(items)
    chunks = iter(lambda: list(islice(source, _CHUNK_ITEMS)), [])
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for results in pool.map(work, chunks):
            yield from results

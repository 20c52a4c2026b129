"""Hash many files with every core: sha256 releases the interpreter lock while it works."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import islice
from typing import TypeVar

from warmup.words.files import open_regular

_BUFFER_BYTES = 1 << 18
_CHUNK_ITEMS = 32  # a task for each file would cost more memory than the files' records
_local = threading.local()

Item = TypeVar("Item")
Result = TypeVar("Result")


def hash_file(path: str, *, dir_fd: int | None = None) -> str:
    """sha256 of a regular file, hex. Raises OSError where it cannot be read, or is not one."""
    fd = open_regular(path, dir_fd=dir_fd)
    try:
        # This thread's own, made once: allocating one for each file costs as much as hashing it.
        if not hasattr(_local, "buffer"):
            _local.buffer = memoryview(bytearray(_BUFFER_BYTES))
        digest, buffer = sha256(), _local.buffer
        while size := os.readv(fd, [buffer]):
            digest.update(buffer[:size])
        return digest.hexdigest()
    finally:
        os.close(fd)


def map_threads(
    function: Callable[[list[Item]], list[Result]], items: Iterable[Item]
) -> Iterator[Result]:
    """`function` of a few items at a time, on one thread for each core.

    Results come in order, an exception where it occurred.
    """
    source = iter(items)
    chunks = iter(lambda: list(islice(source, _CHUNK_ITEMS)), [])
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for results in pool.map(function, chunks):
            yield from results

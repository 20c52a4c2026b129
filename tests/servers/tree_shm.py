"""A leader and a worker that share a segment and never tidy up; argv: READY_FILE."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path


def hold(name: str, ready: Path) -> None:
    segment = SharedMemory(name)
    temporary = ready.with_suffix(".tmp")
    temporary.write_text(segment.name)
    temporary.rename(ready)
    while True:
        signal.pause()


if __name__ == "__main__":
    segment = SharedMemory(create=True, size=1 << 20)
    context = multiprocessing.get_context("spawn")
    context.Process(target=hold, args=(segment.name, Path(sys.argv[1]))).start()
    while True:
        signal.pause()

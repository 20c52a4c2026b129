"""A leader whose workers never stop forking; argv: chain|respawn READY_FILE MAX_FORKS.

chain: each of four processes forks its successor and exits at once, for ever.
respawn: eight workers, each forked anew the moment it dies, by a keeper that ignores SIGTERM.
MAX_FORKS bounds what a broken stop could do to this machine.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import time
from pathlib import Path

_CHAINS = 4
_WORKERS = 8
counter = mmap.mmap(-1, 8)


def fork() -> int:
    """Counts racily, which only makes the bound a little soft."""
    (num_forks,) = struct.unpack("q", counter[:8])
    if num_forks >= int(sys.argv[3]):
        os._exit(3)
    counter[:8] = struct.pack("q", num_forks + 1)
    return os.fork()


def run_chain() -> None:
    while fork() == 0:
        time.sleep(0.001)
    os._exit(0)


def run_keeper() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    workers: set[int] = set()
    while True:
        while len(workers) < _WORKERS:
            pid = fork()
            if pid == 0:
                while True:
                    signal.pause()
            workers.add(pid)
        workers.discard(os.wait()[0])


def main() -> None:
    for _ in range(_CHAINS if sys.argv[1] == "chain" else 1):
        if fork() == 0:
            if sys.argv[1] == "chain":
                run_chain()
            run_keeper()
    Path(sys.argv[2]).write_text("ready")
    while True:
        signal.pause()


if __name__ == "__main__":
    main()

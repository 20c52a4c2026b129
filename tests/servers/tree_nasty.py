"""A leader with workers that do everything to get away; argv: READY_FOLDER [KIND …].

Each worker writes a file named after its kind, with its pid, once it is what it wants to be:
  plain      a child
  deaf       ignores SIGTERM, SIGINT and SIGHUP
  session    leads a session of its own
  orphan     double fork, its parent has exited
  closed     has no descriptors
  retitled   wears a foreign title (setproctitle)
  stopped    has stopped itself
  all        everything above but `stopped` at once, and was executed with an empty environment
The leader ends on SIGTERM with status 0, leaving its workers where they are.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

KINDS = ("plain", "deaf", "session", "orphan", "closed", "retitled", "stopped", "all")
TITLE = "tree-nasty: worker"


def main() -> None:
    if sys.argv[1] == "--worker":
        become(sys.argv[2], Path(sys.argv[3]))
        return
    folder = Path(sys.argv[1])
    for kind in sys.argv[2:]:
        if os.fork() == 0:
            start(kind, folder)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        signal.pause()


def start(kind: str, folder: Path) -> None:
    """Never returns. An exec is how a server's workers usually start (spawn)."""
    if kind in ("session", "all"):
        os.setsid()
    if kind in ("orphan", "all") and os.fork():
        os._exit(0)
    argv = [sys.executable, __file__, "--worker", kind, str(folder)]
    os.execve(argv[0], argv, {} if kind == "all" else dict(os.environ))


def become(kind: str, folder: Path) -> None:
    if kind in ("deaf", "all"):
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
    if kind in ("retitled", "all"):
        import setproctitle

        setproctitle.setproctitle(TITLE)
    temporary = folder / f"{kind}.tmp"
    temporary.write_text(str(os.getpid()))
    temporary.rename(folder / kind)
    if kind in ("closed", "all"):
        os.closerange(0, 4096)
    if kind == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()

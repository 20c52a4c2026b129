"""A fork bomb: all of it deaf, each in a session of its own, forking for ever.

argv: READY_FILE MAX_PROCESSES UID. Runs as UID with RLIMIT_NPROC, so that it fills its limit and
nothing else. Whoever meets the limit writes to the file: some wait long for their turn.
"""

from __future__ import annotations

import os
import resource
import signal
import sys


def main() -> None:
    limit, uid = int(sys.argv[2]), int(sys.argv[3])
    ready = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
    os.setresuid(uid, uid, uid)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    has_told = False
    while True:
        try:
            if os.fork() == 0:
                os.setsid()
        except BlockingIOError:
            if not has_told:
                has_told = True
                os.write(ready, b"full")


if __name__ == "__main__":
    main()

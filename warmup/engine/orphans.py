"""What ranks leave behind when they are killed: compilers, compile workers. We adopt and end them.

On Linux a child subreaper inherits its orphaned descendants; killing direct children until there
are none ends every generation, and only processes that are ours. Elsewhere this does nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
DEADLINE_S = 2.0


def adopt_orphans() -> None:
    """Call once, before any child is started."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans() -> None:
    """Kill and reap every child of this process. Call when none of them is wanted any more."""
    if sys.platform != "linux":
        return
    deadline = time.monotonic() + DEADLINE_S
    while children := _get_children():
        for pid in children:
            # Unreaped children keep their pids, so none of these can be a stranger.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        if time.monotonic() > deadline:
            return
        time.sleep(0.001)


def _get_children() -> list[int]:
    tasks = Path("/proc/self/task")
    found: list[int] = []
    for task in tasks.iterdir():
        # A kernel without CONFIG_PROC_CHILDREN lacks the file; a thread may have just ended.
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found

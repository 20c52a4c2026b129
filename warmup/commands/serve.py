"""`warmup-ci serve`: become the reference engine, in the same process id."""

from __future__ import annotations

import os
import sys


def serve(argv: list[str]) -> int:
    """Replace this process by the engine with the same flags, which it parses itself.

    Started by argv, never imported: this side of the wall has no torch. Does not return.
    """
    command = [sys.executable, "-m", "warmup.engine.serve", *argv]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)

"""`warmup-ci serve`: become the reference engine, in the same process id."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from warmup.words.program import make_argv, make_env


def serve(argv: Sequence[str]) -> int:
    """Replace this process by the engine with the same flags, which it parses itself.

    Started by argv, never imported: this side of the wall has no torch. Does not return.
    """
    command = [*make_argv("warmup.engine.serve"), *argv]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, make_env(os.environ))

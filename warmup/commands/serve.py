"""`warmup-ci serve`: become the reference engine, in the same process id."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

# `python -m` and `python -c` look for modules in the current folder first, and that folder may be
# a checkout that nobody trusts. PYTHONSAFEPATH says no to the engine's own children as well, but
# Python 3.10 does not know it.
_START = (
    "import sys; sys.path[:] = [folder for folder in sys.path if folder]; "
    "from warmup.engine.serve import main; sys.exit(main(sys.argv[1:]))"
)


def serve(argv: Sequence[str]) -> int:
    """Replace this process by the engine with the same flags, which it parses itself.

    Started by argv, never imported: this side of the wall has no torch. Does not return.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    env = {**os.environ, "PYTHONSAFEPATH": "1"}
    os.execve(sys.executable, [sys.executable, "-c", _START, *argv], env)

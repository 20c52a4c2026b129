"""Where the program begins."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """`exec -- CMD`, which stands before every test, is up before click would be; the rest is
    the command line's."""
    words = sys.argv[1:]
    if words[:2] == ["exec", "--"] and not os.environ.get("WARMUP_CI_CACHE_ROOT"):
        from warmup.commands.exec import exec_command
        from warmup.commands.program import run_program
        from warmup.commands.session import Session

        run_program(lambda _: exec_command(Session(), command=tuple(words[2:])))
    from warmup import cli

    cli.main()

"""`warmup-ci exec -- CMD…`: any command, the tests say, as a supervised tree.

What it starts does not survive it. The rest is as without us: streams, terminal, exit status.
"""

from __future__ import annotations

import sys

from warmup.commands.session import Session
from warmup.report.api import Output
from warmup.words.errors import UsageError


def exec_command(
    session: Session, *, command: tuple[str, ...], timeout_s: float | None = None
) -> int:
    """Run it. Returns its exit status, 128 + signal, or 124 where its time was over.

    Raises UsageError for an empty command, NotExecutable (126, 127), HostError.
    """
    from warmup.state.api import make_run_id
    from warmup.supervise.api import run_attached

    if not command:
        raise UsageError("exec needs a command", hint="warmup-ci exec -- pytest tests/")
    return run_attached(
        command,
        env=session.env,
        home=session.home,
        run_id=make_run_id(),
        warn=warn,
        timeout_s=timeout_s,
    )


def warn(text: str) -> None:
    """On stderr: stdout is the command's."""
    Output(sys.stderr).line(f"warmup-ci: {text}")

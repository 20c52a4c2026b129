"""`warmup-ci report [RUN…]`: what happened, as a page and in the formats that CI systems read."""

from __future__ import annotations

import sys
from pathlib import Path

from warmup.commands.session import Session
from warmup.report.api import Output, Report, show


def report(
    session: Session,
    *,
    run_ids: tuple[str, ...],
    json_output: bool = False,
    **paths: Path | None,
) -> int:
    """Show the runs named, or the newest beside all others, and write the files asked for.

    paths: by kind, as `warmup.report.views.FILES` names them. Returns 0. Raises UsageError where a
    name fits no run, and HostError where the home cannot be read or a file not be written.
    """
    home = session.home
    found = Report.read(home.find_folder("runs"), run_ids, home=home.path, environ=session.environ)
    asked = {kind: path for kind, path in paths.items() if path is not None}
    found.write(asked, Output(sys.stderr))
    if json_output or not asked:
        show(found.make_document(asked), found.list_lines(), json_output=json_output)
    return 0

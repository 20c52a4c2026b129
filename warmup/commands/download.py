"""`run --download`: fetch first what the hub's cache lacks."""

from __future__ import annotations

import time

from warmup.commands.session import Session
from warmup.launch.api import Wanted, download
from warmup.report.api import Output


def download_missing(session: Session, err: Output, begin: float) -> None:
    """Of each launch whose engine is given a snapshot, the files that its cache lacks.

    err: hears a line a model, and more while it takes long; a terminal shows progress bars.
    begin: of the step, monotonic seconds. Raises WarmupError.
    """
    for launch in session.launches:
        wanted: Wanted = "code" if session.get_boot_launch(launch).weights == "dummy" else "all"
        hub = launch.hub
        if hub is None or hub.is_complete(needs_weights=wanted == "all"):
            continue
        err.line(f"{launch.name}: downloading revision {hub.revision} to {hub.repo}")
        limit = session.resolved.deadline_s
        download(
            launch,
            session.get_env(launch),
            wanted,
            timeout_s=None if limit is None else begin + limit - time.monotonic(),
            tell=err.line,
            has_terminal=err.is_terminal,
        )
    session.forget_launches()

"""What this host cannot promise, for `doctor` and for the event log."""

from __future__ import annotations

import os

from warmup.supervise.tree import cookie, kernel, proc


def find_missing_guarantees() -> list[str]:
    """What this host lacks for design.md section 7, and what is left without it."""
    missing = []
    if not proc.list_pids():
        missing.append("no /proc: only a server's leader is sure to be ended, not what it started")
    elif not cookie.is_readable() or cookie.find_new_cookie() is None:
        missing.append(
            "processes cannot be marked (RLIMIT_LOCKS): a server's tree is ended while its shim"
            " lives, but `reap` finds nothing after orchestrator and shim were both killed"
        )
    try:
        pidfd = kernel.find_pidfd(os.getpid())
    except ProcessLookupError:
        pidfd = None
    if pidfd is None:
        missing.append(
            "no pidfd (Linux 5.3): deaths are noticed by pipes and polling, and `reap` checks a"
            " process's mark just before it signals a bare pid"
        )
    else:
        os.close(pidfd)
    if not _can_be_subreaper():
        missing.append(
            "no child subreaper (Linux 3.4): workers that leave their parents are found by their"
            " mark alone"
        )
    return missing


def _can_be_subreaper() -> bool:
    was = kernel.is_subreaper()
    can = kernel.set_subreaper(True)
    kernel.set_subreaper(was)
    return can

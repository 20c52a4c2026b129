"""Ending what earlier runs left behind because orchestrator and shim were both killed.

A run counts as dead when nobody holds its lock; its processes are then found by the cookie in its
ledger, never by pid or name. What cannot be told from here (another host's home, another container)
is left alone and said.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from warmup.supervise.tree import clear, cookie, ledger
from warmup.words.errors import HostError

_NUM_SCANS = 5

RunState = Literal["running", "finished", "cleared", "gone", "elsewhere", "survivors", "unreadable"]


@dataclass(frozen=True)
class ReapedRun:
    """One folder of `runs/`. killed: (pid, command). detail: for a human, may be empty.

    running: its orchestrator lives. finished: it cleared up itself. cleared: nothing of it runs any
    more, whether or not we had to end something. gone: the host was booted since. elsewhere: of
    another PID namespace. survivors: not even SIGKILL ended all. unreadable: no ledger to go by.
    """

    run_id: str
    state: RunState
    killed: tuple[tuple[int, str], ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class ReapReport:
    runs: tuple[ReapedRun, ...]

    @property
    def has_findings(self) -> bool:
        return any(run.state in ("survivors", "unreadable") for run in self.runs)


def reap(home: Path, warn: Callable[[str], None]) -> ReapReport:
    """Clear every dead run of `home` (WARMUP_CI_HOME). warn: told of what is left undone.

    Raises HostError where the home cannot be read; one that does not exist has no runs.
    """
    folders = sorted(path for path in _list_folders(home / "runs") if path.is_dir())
    runs = tuple(run for path in folders if (run := _reap_run(path, warn)) is not None)
    for run in runs:
        if run.state in ("survivors", "unreadable", "elsewhere"):
            warn(f"run {run.run_id}: {run.detail}")
    return ReapReport(runs)


def _list_folders(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        hint = "name the home of the runs with WARMUP_CI_HOME"
        raise HostError(f"cannot read {folder}", cause=error.strerror, hint=hint) from error


def _reap_run(run_dir: Path, warn: Callable[[str], None]) -> ReapedRun | None:
    """None where the folder holds no ledger: nothing was ever started there."""
    if not (run_dir / ledger.LEDGER_NAME).exists():
        return None  # the ledger comes before the first process
    try:
        with ExitStack() as stack:
            try:
                is_ours = stack.enter_context(ledger.hold_lock(run_dir, create=False))
            except FileNotFoundError:
                is_ours = True  # somebody removed it: the orchestrator itself has to be looked for
            return _reap_dead(run_dir, warn) if is_ours else ReapedRun(run_dir.name, "running")
    except OSError as error:
        return ReapedRun(run_dir.name, "unreadable", detail=str(error))
    except msgspec.DecodeError as error:
        return ReapedRun(run_dir.name, "unreadable", detail=f"its ledger is no ledger: {error}")


def _reap_dead(run_dir: Path, warn: Callable[[str], None]) -> ReapedRun:
    book = ledger.read(run_dir)
    if book.finished:
        return ReapedRun(run_dir.name, "finished")
    if not book.is_of_this_boot:
        return ReapedRun(run_dir.name, "gone", detail="the host was booted since")
    if not book.is_of_this_namespace:
        detail = "of another PID namespace (a container's?), whose processes cannot be seen here"
        return ReapedRun(run_dir.name, "elsewhere", detail=detail)
    if book.has_living_orchestrator:
        return ReapedRun(run_dir.name, "running", detail="though its lock is free")
    if book.cookie < cookie.LOWEST:
        return ReapedRun(run_dir.name, "unreadable", detail="its processes could not be marked")
    ended = clear.end_bearers(cookie.get_run_cookies(book.cookie), num_scans=_NUM_SCANS)
    if ended.survivors:
        detail = "could not end " + "; ".join(ended.survivors)
        return ReapedRun(run_dir.name, "survivors", ended.killed, detail)
    try:
        ledger.write(run_dir, msgspec.structs.replace(book, finished=True))
    except OSError as error:  # a read-only home: looked at again next time
        warn(f"run {run_dir.name}: could not be marked as finished: {error}")
    return ReapedRun(run_dir.name, "cleared", ended.killed)

"""Ending what earlier runs left behind because orchestrator and shim were both killed.

A run counts as dead when nobody holds its lock; its processes are then found by the cookie in its
ledger, never by pid or name. What cannot be told from here (another host's home, another container)
is left alone and said.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from warmup.supervise.tree import clear, cookie, ledger, proc
from warmup.supervise.tree.cgroup import list_groups
from warmup.words.errors import HostError
from warmup.words.files import Folder
from warmup.words.locks import try_lock

_NUM_SCANS = 5
_SHIM_FILE = "/warmup/supervise/tree/shim.py"  # of whatever installation
_LOCK_PATIENCE_S = 0.1

RunState = Literal[
    "running", "finished", "cleared", "gone", "elsewhere", "foreign", "survivors", "unreadable"
]


@dataclass(frozen=True)
class ReapedRun:
    """One folder of `runs/`. killed: (pid, command). detail: for a human, may be empty.

    running: its orchestrator lives. finished: it cleared up itself. cleared: nothing of it runs any
    more, whether or not we had to end something. gone: the host was booted since. elsewhere: of
    another PID namespace. foreign: another user owns it or may change it, so nothing that it says
    is acted on. survivors: not even SIGKILL ended all; `survivors` describes them. unreadable: it
    holds no ledger to go by.
    """

    run_id: str
    state: RunState
    killed: tuple[tuple[int, str], ...] = ()
    detail: str = ""
    survivors: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReapReport:
    runs: tuple[ReapedRun, ...]

    @property
    def has_findings(self) -> bool:
        return any(run.state in ("survivors", "unreadable") for run in self.runs)


def reap_runs(folder: Folder, warn: Callable[[str], None]) -> ReapReport:
    """Clear every dead run of a home, whose open `runs` is given: whoever swaps it since is not
    followed. warn: told of what is left undone.
    """
    found = (_reap_name(folder, name, warn) for name in folder.list_names())
    runs = tuple(run for run in found if run is not None)
    for run in runs:
        if run.state in ("survivors", "unreadable", "elsewhere", "foreign"):
            warn(f"run {run.run_id}: {run.detail}")
    return ReapReport(runs)


def reap_run(runs: Folder, name: str, warn: Callable[[str], None]) -> tuple[str, ...]:
    """End whatever the dead run `name` left; descriptions of what could not be ended."""
    run = _reap_name(runs, name, warn)
    return () if run is None else run.survivors


def _reap_name(runs: Folder, name: str, warn: Callable[[str], None]) -> ReapedRun | None:
    """None where it is not a folder, or holds no ledger: nothing was ever started there."""
    try:
        folder = runs.open_folder(name)
    except OSError:
        return None
    try:
        with folder as run_dir:
            status = run_dir.stat(ledger.LEDGER_NAME)  # it comes before the first process
            intruder = runs.find_intruder() or run_dir.find_intruder()
            if intruder is None and status.st_uid != os.geteuid():
                intruder = f"uid {status.st_uid} owns its ledger, and we run as {os.geteuid()}"
            if intruder is not None:
                return ReapedRun(name, "foreign", detail=f"not to be trusted: {intruder}")
            return _reap_own(run_dir, warn)
    except FileNotFoundError:
        return None
    except OSError as error:
        return ReapedRun(name, "unreadable", detail=f"unreadable ledger: {error.strerror}")
    except HostError as error:
        return ReapedRun(name, "unreadable", detail=error.reason)
    except msgspec.DecodeError as error:
        return ReapedRun(name, "unreadable", detail=f"unreadable ledger: {error}")


def _reap_own(run_dir: Folder, warn: Callable[[str], None]) -> ReapedRun:
    try:
        lock = try_lock(run_dir, ledger.LOCK_NAME, create=False, patience_s=_LOCK_PATIENCE_S)
    except FileNotFoundError:
        # Somebody removed it: then the orchestrator itself has to be looked for.
        return _reap_dead(run_dir, warn)
    if lock is None:
        return ReapedRun(run_dir.path.name, "running")
    with lock:
        return _reap_dead(run_dir, warn)


def _reap_dead(run_dir: Folder, warn: Callable[[str], None]) -> ReapedRun:
    name, book = run_dir.path.name, ledger.read(run_dir)
    if book.finished:
        return ReapedRun(name, "finished")
    if not book.is_of_this_boot:
        return ReapedRun(name, "gone", detail="the host was booted since")
    if not book.is_of_this_namespace:
        detail = "of another PID namespace (a container's?), whose processes cannot be seen here"
        return ReapedRun(name, "elsewhere", detail=detail)
    if book.has_living_orchestrator:
        return ReapedRun(name, "running", detail="though its lock is free")
    if book.cookie < cookie.LOWEST:
        return ReapedRun(name, "unreadable", detail="its processes could not be marked")
    cookies = cookie.get_run_cookies(book.cookie)
    shim = _find_supervised(cookies)
    if shim is not None:
        detail = f"the shim pid {shim}, which wears its mark, has a living orchestrator"
        return ReapedRun(name, "running", detail=detail)
    groups = list_groups(book.cgroup_parent, cookies)
    ended = clear.end_bearers(cookies, groups=groups, num_scans=_NUM_SCANS)
    for group in groups:
        group.remove()
    if ended.survivors:
        detail = "could not end " + "; ".join(ended.survivors)
        return ReapedRun(name, "survivors", ended.killed, detail, ended.survivors)
    try:
        ledger.write(run_dir, replace(book, finished=True))
    except OSError as error:  # a read-only home: looked at again next time
        warn(f"run {name}: could not be marked as finished: {error}")
    return ReapedRun(name, "cleared", ended.killed)


def _find_supervised(cookies: range) -> int | None:
    """A shim of the tree that has the parent which started it: then its run lives.

    A shim names its parent on its command line and clears up as soon as that changes; the ledger
    that led here is old, or somebody else's.
    """
    for pid in cookie.list_bearers(cookies):
        parent = _find_named_parent(pid)
        stat = proc.find_stat(pid)
        if parent is not None and stat is not None and stat.ppid == parent:
            return pid
    return None


def _find_named_parent(pid: int) -> int | None:
    """The first argument of a shim, as `spawn` gives it; None for every other program."""
    import psutil

    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return None
    if len(words) < 5 or words[1:3] != ["-I", "-S"] or not words[3].endswith(_SHIM_FILE):
        return None
    return int(words[4]) if words[4].isdigit() else None

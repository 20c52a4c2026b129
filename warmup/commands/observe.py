"""`warmup-ci observe -- CMD…`: list every kernel a command had to compile that the warm-up had not.

The command keeps our standard streams, process group and terminal. Its exit status is ours.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from warmup.commands.session import Session
from warmup.report.api import Output
from warmup.words.errors import EXIT_FAILED, HostError, UsageError, WarmupError
from warmup.words.secrets import Redactor

if TYPE_CHECKING:
    from warmup.supervise.api import EntryHolders

_LOOK_S = 0.5
_MAX_LISTED = 50  # lines per family for people; the document holds all
# What is handed on to the command. Not SIGTSTP and SIGCONT: the terminal stops the whole group.
_FORWARDED = {
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
}  # fmt: skip
_SI_KERNEL = 0x80  # asm-generic/siginfo.h: the terminal's Ctrl-C, which the command got as well


class ObservedEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """entry: relative to its cache folder. t: seconds since the epoch when it appeared.

    argv: of the server that made it, left out where the process tree does not show it.
    """

    entry: str
    kernel: str
    t: float
    argv: tuple[str, ...] | None = None


class ObserveDocument(msgspec.Struct, frozen=True, kw_only=True):
    schema: int = 1
    exit_code: int
    new_entries: dict[str, list[ObservedEntry]]


def observe(
    session: Session,
    *,
    command: tuple[str, ...],
    json_path: Path | None = None,
    fail_on_miss: bool = False,
) -> int:
    """Run `command`, then report its new cache entries. Returns its exit status.

    128 + signal where a signal ended it; 127 or 126 where it cannot be executed. With
    fail_on_miss, 1 where it succeeded but compiled. Raises UsageError for an empty command and
    for a document that cannot be written, before anything runs.
    """
    from warmup.caches.api import find_new_after, get_family, make_mark
    from warmup.supervise.api import EntryHolders
    from warmup.words.names import FAMILY_NAMES

    if not command:
        raise UsageError("observe needs a command", hint="warmup-ci observe -- pytest tests/")
    if json_path is not None:
        _check_writable(json_path)
    env = session.env
    roots = [root for name in FAMILY_NAMES for root in get_family(name).get_roots(env)]
    holders = EntryHolders(roots)
    mark = make_mark(FAMILY_NAMES, env)
    holders.look()
    status = _run(command, env, holders)
    new = find_new_after(mark)
    if new and status == 0 and fail_on_miss:
        status = EXIT_FAILED
    redactor = Redactor.from_environment(env)
    observed = {
        name: [
            ObservedEntry(one.entry, one.kernel, one.t, holders.find_argv(one.entry, redactor))
            for one in entries
        ]
        for name, entries in new.items()
    }
    _report(observed)
    if json_path is not None:
        document = ObserveDocument(exit_code=status, new_entries=observed)
        return _write(json_path, document, status)
    return status


def _write(path: Path, document: ObserveDocument, status: int) -> int:
    """Returns the status, or HostError's where all was well but for the document."""
    from warmup.words.files import write_atomic

    data = msgspec.json.encode(document) + b"\n"
    try:
        if _is_special(path):
            path.write_bytes(data)
        else:
            write_atomic(path.resolve(), data, mode=0o644)
    except OSError as error:
        lost = HostError(f"cannot write {path}", cause=error.strerror)
        Output(sys.stderr).line(lost.render())
        return status or lost.exit_status
    return status


def _check_writable(path: Path) -> None:
    """Hours of tests must not end in a document that cannot be written."""
    problem = None
    folder = path.resolve().parent  # of what a link points to
    if path.is_dir():
        problem = "it is a folder"
    elif _is_special(path):
        problem = None if os.access(path, os.W_OK) else "it is not writable"
    elif not folder.is_dir():
        problem = f"there is no folder {path.parent}"
    elif not os.access(folder, os.W_OK):
        problem = f"the folder {path.parent} is not writable"
    if problem is not None:
        raise UsageError(f"cannot write {path}", cause=problem, hint="give --json a path to write")


def _is_special(path: Path) -> bool:
    """A pipe, /dev/stdout: no other file can be put in its place."""
    return path.exists() and not path.is_file()


def _run(command: tuple[str, ...], env: Mapping[str, str], holders: EntryHolders) -> int:
    """Start the command, hand signals on to it, and look around until it ends."""
    heard = _FORWARDED | {signal.SIGCHLD}
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    try:
        try:
            pid = os.posix_spawnp(command[0], command, env, setsigmask=previous)
        except OSError as error:
            failed = WarmupError(f"cannot run {command[0]}", cause=error.strerror)
            Output(sys.stderr).line(failed.render())
            return 127 if isinstance(error, FileNotFoundError) else 126
        holders.root_pid = pid
        while True:
            ended, wait_status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(wait_status)
                return code if code >= 0 else 128 - code
            info = signal.sigtimedwait(heard, _LOOK_S)
            if info is not None and info.si_signo in _FORWARDED and info.si_code != _SI_KERNEL:
                os.kill(pid, info.si_signo)  # not reaped yet, so the pid is still its own
            holders.look()
    finally:
        # Signals that came since the command ended are not to end the report.
        while signal.sigtimedwait(heard, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _report(observed: Mapping[str, Sequence[ObservedEntry]]) -> None:
    """For people, on stderr: stdout is the command's."""
    from warmup.words.escape import to_line

    err = Output(sys.stderr)
    if not observed:
        err.line("observe: nothing was compiled that the warm-up had not")
        return
    counts = ", ".join(f"{len(entries)} {name}" for name, entries in observed.items())
    err.line(f"observe: compiled that the warm-up had not: {counts}")
    for name, entries in observed.items():
        err.line(f"{name}:")
        for one in entries[:_MAX_LISTED]:
            when = time.strftime("%H:%M:%S", time.localtime(one.t))
            who = "" if one.argv is None else f"  by {to_line(shlex.join(one.argv))[:200]}"
            err.line(f"  {when}  {to_line(one.kernel)}  {to_line(one.entry)}{who}")
        if len(entries) > _MAX_LISTED:
            err.line(f"  and {len(entries) - _MAX_LISTED} more")

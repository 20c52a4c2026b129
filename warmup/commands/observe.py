"""`warmup-ci observe -- CMD…`: `exec`, and list every kernel that it had to compile."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from warmup.commands.exec import warn
from warmup.commands.session import Session
from warmup.report.api import Output
from warmup.words.errors import EXIT_FAILED, HostError, UsageError
from warmup.words.escape import to_line
from warmup.words.secrets import Redactor

_MAX_LISTED = 50  # lines per family for people; the document holds all


class ObservedEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """entry: relative to its cache folder. t: seconds since the epoch when it appeared.

    argv: of the server that made it, left out where the process tree does not show it.
    """

    entry: str
    kernel: str
    t: float
    argv: tuple[str, ...] | None = None


class ObservedLine(msgspec.Struct, frozen=True):
    """What a log says of a compile that left no entry here. kernel: "" where it names none."""

    log: str
    family: str
    kernel: str
    text: str


class ObserveDocument(msgspec.Struct, frozen=True, kw_only=True):
    schema: int = 1
    exit_code: int
    new_entries: dict[str, list[ObservedEntry]]
    compile_lines: list[ObservedLine] = []


def observe(
    session: Session,
    *,
    command: tuple[str, ...],
    timeout_s: float | None = None,
    json_path: Path | None = None,
    fail_on_miss: bool = False,
    logs: tuple[str, ...] = (),
) -> int:
    """Run `command`, then report its new cache entries. Returns its exit status, as `exec` does.

    logs: files, or patterns of them, in which servers may say that they compile. With
    fail_on_miss, 1 where it succeeded but compiled. Raises UsageError for an empty command
    and for a document that cannot be written, before anything runs, and HostError.
    """
    from warmup.caches.api import find_new_after, find_said, get_family, make_mark, mark_logs
    from warmup.state.api import make_run_id
    from warmup.supervise.api import EntryHolders, NotExecutable, run_attached
    from warmup.words.names import FAMILY_NAMES

    if not command:
        raise UsageError("observe needs a command", hint="warmup-ci observe -- pytest tests/")
    if json_path is not None:
        _check_writable(json_path)
    env = session.env
    roots = [root for name in FAMILY_NAMES for root in get_family(name).get_roots(env)]
    holders = EntryHolders(roots)
    mark, log_marks = make_mark(FAMILY_NAMES, env), mark_logs(logs)
    holders.look()

    def look(pid: int) -> None:
        holders.root_pid = pid
        holders.look()

    try:
        status = run_attached(
            command,
            env=env,
            home=session.home,
            run_id=make_run_id(),
            warn=warn,
            timeout_s=timeout_s,
            look=look,
        )
    except NotExecutable as error:
        Output(sys.stderr).line(error.render())
        status = error.exit_status
    new = find_new_after(mark)
    said = find_said(log_marks, FAMILY_NAMES, env, new)
    if (new or said) and status == 0 and fail_on_miss:
        status = EXIT_FAILED
    redactor = Redactor.from_environment(env)
    observed = {
        name: [
            ObservedEntry(one.entry, one.kernel, one.t, holders.find_argv(one.entry, redactor))
            for one in entries
        ]
        for name, entries in new.items()
    }
    lines = [
        ObservedLine(path, each.family, each.kernel, redactor.redact(each.text))
        for path, found in said.items()
        for each in found
    ]
    for pattern in log_marks.unmatched:
        warn(f"no log is called {to_line(pattern)}")
    _report(observed, lines)
    if json_path is not None:
        document = ObserveDocument(exit_code=status, new_entries=observed, compile_lines=lines)
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


def _report(observed: Mapping[str, Sequence[ObservedEntry]], lines: Sequence[ObservedLine]) -> None:
    """For people, on stderr: stdout is the command's."""
    err = Output(sys.stderr)
    if not observed and not lines:
        err.line("observe: nothing was compiled that the warm-up had not")
        return
    counts = [f"{len(entries)} {name}" for name, entries in observed.items()]
    counts += [f"{len(lines)} by what logs say"] if lines else []
    err.line(f"observe: compiled that the warm-up had not: {', '.join(counts)}")
    for name, entries in observed.items():
        err.line(f"{name}:")
        for one in entries[:_MAX_LISTED]:
            when = time.strftime("%H:%M:%S", time.localtime(one.t))
            who = "" if one.argv is None else f"  by {to_line(shlex.join(one.argv))[:200]}"
            err.line(f"  {when}  {to_line(one.kernel)}  {to_line(one.entry)}{who}")
        if len(entries) > _MAX_LISTED:
            err.line(f"  and {len(entries) - _MAX_LISTED} more")
    for line in lines[:_MAX_LISTED]:
        err.line(f"{to_line(line.log)}: {line.family}: {to_line(line.text)[:200]}")
    if len(lines) > _MAX_LISTED:
        err.line(f"and {len(lines) - _MAX_LISTED} more lines of logs")

"""The runs of a home, read from their `events.jsonl`: some in full, the others for their trend."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from warmup.report.reader import BRIEF_KINDS, RecordBuilder
from warmup.report.record import RunBrief, RunRecord
from warmup.words.errors import UsageError
from warmup.words.files import Folder

EVENTS_NAME = "events.jsonl"
MAX_RUNS = 2000  # of a home: the newest
# Of a folder that may be `exec`'s, or of a run that begins this moment.
_ABSENT = f"its events cannot be read: {os.strerror(errno.ENOENT)}"
_MAX_LINE_BYTES = 4 << 20
_MAX_FILE_BYTES = 256 << 20


@dataclass(frozen=True)
class History:
    """What every view is made of, oldest first. runs: in full; briefs: of all there are.

    home: where they were looked for, in words. num_older: runs that were not read. unread: of which
    no event could be, `RUN: why`.
    """

    runs: tuple[RunRecord, ...]
    briefs: tuple[RunBrief, ...]
    home: str = ""
    num_older: int = 0
    unread: tuple[str, ...] = ()

    @property
    def newest(self) -> RunRecord | None:
        return self.runs[-1] if self.runs else None


def read_history(
    folder: Folder | None,
    named: Sequence[str] = (),
    *,
    home: str = "",
    live: RunRecord | None = None,
) -> History:
    """Every run in `folder` (a home's `runs`, None where there is none).

    named: the runs to read in full, by id or by a beginning of it that only one has; none: the
    newest. live: a run that has just ended, which stands for its own file. Raises UsageError where
    a name fits no run or several, OSError where the folder cannot be listed.
    """
    names = folder.list_names() if folder is not None else []
    meant = {_find_run(name, names, home) for name in named}
    runs: list[RunRecord] = [] if live is None else [live]
    briefs: list[RunBrief] = [] if live is None else [live.brief]
    older, unread = names[:-MAX_RUNS], list[str]()
    for name in reversed(names):
        if (
            folder is None
            or (live is not None and name == live.run_id)
            or (name in older and name not in meant)
        ):
            continue
        is_whole = name in meant or not (meant or runs)
        record = read_run(folder, name, None if is_whole else BRIEF_KINDS)
        if record is None or not (record.begin or name in meant):
            if record is not None and record.problem != _ABSENT:
                unread.append(f"{name}: {record.problem}")
            continue
        briefs.append(record.brief)
        if is_whole:
            runs.append(record)
    runs.sort(key=lambda run: (run.begin, run.run_id))
    briefs.sort(key=lambda run: (run.begin, run.run_id))
    return History(tuple(runs), tuple(briefs), home, len(older), tuple(unread))


def read_run(runs: Folder, run_id: str, kinds: Collection[str] | None = None) -> RunRecord | None:
    """One run, as far as it can be read; None for what is not the folder of one.

    kinds: of the events that are looked at, None for all.
    """
    builder = RecordBuilder(run_id, kinds)
    try:
        with runs.open_folder(run_id) as folder:
            fd = folder.open_file(EVENTS_NAME)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EINVAL):
            return None
        builder.record.problem = f"its events cannot be read: {error.strerror}"
        return builder.finish()
    with os.fdopen(fd, "rb", buffering=1 << 17) as file:
        for line in _iter_lines(file, builder.record):
            builder.read(line)
    record = builder.finish()
    if not record.begin:
        record.problem = record.problem or "it recorded no event"
    return record


def _iter_lines(file: BinaryIO, record: RunRecord) -> Iterator[bytes]:
    """Lines of a bounded file, each bounded; one that is too long is counted and passed over."""
    left = _MAX_FILE_BYTES
    try:
        while left > 0 and (line := file.readline(_MAX_LINE_BYTES)):
            left -= len(line)
            if line.endswith(b"\n") or len(line) < _MAX_LINE_BYTES:
                yield line
                continue
            record.num_unread += 1
            while left > 0 and (rest := file.readline(_MAX_LINE_BYTES)):
                left -= len(rest)
                if rest.endswith(b"\n"):
                    break
    except OSError as error:
        record.problem = f"its events could not be read to their end: {error.strerror}"
    if left <= 0:
        record.problem = f"its events were read up to {_MAX_FILE_BYTES >> 20} MiB only"


def _find_run(name: str, names: Sequence[str], home: str) -> str:
    found = [name] if name in names else [each for each in names if name and each.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"cannot tell which run {name} is", hint=f"name one of {', '.join(found[-8:])}"
        )
    hint = f"the newest are {', '.join(names[-3:])}" if names else "no run is recorded there"
    raise UsageError(f"no run {name or repr(name)} in {home or 'this home'}", hint=hint)

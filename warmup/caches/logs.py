"""What servers said of compiles in log files, after a moment: for `observe`, which has no log of
its own, since its command keeps its streams.

Looked at are files that are named, by pattern, since tests make them as they go, and our own
standard output and error, where they are files.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from warmup.caches.compile_lines import CompileLine, drop_loads, find_compile_lines
from warmup.caches.family import Env
from warmup.caches.manifest import NewEntry
from warmup.caches.walk import RootSnapshot, Snapshot, take_snapshot
from warmup.words.escape import to_text


@dataclass(frozen=True)
class LogMarks:
    """patterns: as a shell would expand them. sizes: (device, inode) → bytes that were there."""

    patterns: tuple[str, ...]
    sizes: Mapping[tuple[int, int], int]

    @property
    def paths(self) -> list[Path]:
        """Regular files that the patterns name now; what is a link by name may be one of ours."""
        found = [Path(path).resolve() for each in self.patterns for path in _expand(each)]
        return [path for path in dict.fromkeys(found) if path.is_file()]

    @property
    def unmatched(self) -> list[str]:
        return [each for each in self.patterns if not _expand(each)]


def _expand(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern))  # noqa: PTH207 - an absolute pattern


def mark_logs(patterns: Sequence[str]) -> LogMarks:
    """Now. A log that is not there yet begins later."""
    own = [str(path) for fd in (1, 2) if (path := _find_own(fd))]
    marks = LogMarks((*map(os.path.abspath, patterns), *map(glob.escape, own)), {})
    sizes = {}
    for path in marks.paths:
        with suppress(OSError):
            found = path.stat()
            sizes[found.st_dev, found.st_ino] = found.st_size
    return LogMarks(marks.patterns, sizes)


def _find_own(fd: int) -> Path | None:
    """The file that this stream of ours is written to; None where it is none."""
    try:
        is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        return Path(f"/proc/self/fd/{fd}").readlink() if is_file else None
    except OSError:
        return None


def find_said(
    marks: LogMarks, families: Sequence[str], env: Env, new: Mapping[str, Sequence[NewEntry]]
) -> dict[str, list[CompileLine]]:
    """Path → what that log says of compiles since the marks, each line once.

    new: the entries that were made meanwhile; what is among them is not told again. Logs that
    cannot be read say nothing.
    """
    found = {}
    for path in marks.paths:
        with suppress(OSError):
            now = path.stat()
            was = marks.sizes.get((now.st_dev, now.st_ino), 0)
            offset = was if was <= now.st_size else 0  # it was truncated meanwhile
            found[str(path)] = list(dict.fromkeys(find_compile_lines(path, families, offset)))
    names = {line.family for lines in found.values() for line in lines if line.may_be_load}
    before = _take_away(take_snapshot(sorted(names), env), new)
    made = {(name, one.kernel) for name, entries in new.items() for one in entries}
    left = {
        path: [line for line in drop_loads(lines, before) if (line.family, line.kernel) not in made]
        for path, lines in found.items()
    }
    return {path: lines for path, lines in left.items() if lines}


def _take_away(snapshot: Snapshot, new: Mapping[str, Sequence[NewEntry]]) -> Snapshot:
    """As the caches were before these entries were made."""
    made = {(name, one.entry) for name, entries in new.items() for one in entries}

    def keep(name: str, root: RootSnapshot) -> RootSnapshot:
        kept = {e: files for e, files in root.entries.items() if (name, to_text(e)) not in made}
        return msgspec.structs.replace(root, entries=kept)

    return Snapshot(
        {name: [keep(name, root) for root in roots] for name, roots in snapshot.families.items()}
    )

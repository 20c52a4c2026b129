"""Lines in a server's log that say it compiled a kernel, for `--prove` and `observe`.

What says so, and the variables that make it: each family's `compile_line`, `monitor_line` and
`log_variables`. New entries are the other half of the proof; these lines catch compiles that leave
none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from warmup.caches.family_table import get_family
from warmup.caches.manifest import find_new
from warmup.caches.tuning import part_tuning
from warmup.caches.walk import Snapshot
from warmup.words.files import open_regular

_CHUNK_BYTES = 1 << 20
_MAX_LINE_BYTES = 1 << 16  # a longer one is looked at in pieces


class CompileLine(NamedTuple):
    """kernel: "" where the line does not name it. text: the line as it can be printed.

    may_be_load: whether whoever wrote it says the same of a kernel that it loads from disk.
    """

    family: str
    kernel: str
    text: str
    may_be_load: bool = False


class FoundCompile(NamedTuple):
    """One thing that was compiled. kernel: its name, or the log's line. t: when, in seconds since
    the epoch; None where only the log tells of it."""

    family: str
    kernel: str
    t: float | None

    def __str__(self) -> str:
        return f"{self.family} {self.kernel}"


def get_log_variables(families: Sequence[str]) -> dict[str, str]:
    """Variables under which servers say that they compile; they change nothing else."""
    variables: dict[str, str] = {}
    for name in families:
        variables.update(get_family(name).log_variables)
    return variables


def find_compile_lines(
    path: Path, families: Sequence[str], offset: int = 0, *, dir_fd: int | None = None
) -> list[CompileLine]:
    """Compile lines of these families in a log file from byte `offset` on, in order.

    dir_fd: of the path's folder; then nothing else is reached, whatever has its name.
    Reads in chunks: memory does not grow with the log. Raises OSError where it cannot be read.
    """
    patterns = [
        (name, re.compile(expression), may_be_load)
        for name in families
        for expression, may_be_load in (
            (get_family(name).compile_line, False),
            (get_family(name).monitor_line, True),
        )
        if expression
    ]
    found = []
    for line in _iter_lines(path, offset, dir_fd):
        for name, pattern, may_be_load in patterns:
            match = pattern.search(line)
            if match is not None:
                kernel = (match.groupdict().get("kernel") or b"").decode(errors="backslashreplace")
                text = match[0].decode(errors="backslashreplace").strip()
                found.append(CompileLine(name, kernel, text, may_be_load))
    return found


def drop_loads(lines: Sequence[CompileLine], before: Snapshot) -> list[CompileLine]:
    """Without what a monitor said of kernels that lay in the caches before.

    Such a kernel may have been loaded; where it was compiled for another shape, it left an entry,
    and that counts. One that no entry has the name of was compiled, and leaves none.
    """
    known: dict[str, set[str]] = {}
    for name in {line.family for line in lines if line.may_be_load}:
        get_kernel = get_family(name).get_kernel
        known[name] = {
            get_kernel(Path(root.root), entry, [file.name for file in files])
            for root in before.families.get(name, [])
            for entry, files in root.entries.items()
        }
    return [line for line in lines if not (line.may_be_load and line.kernel in known[line.family])]


def list_compiled(
    before: Snapshot,
    after: Snapshot,
    log_path: Path,
    *,
    dir_fd: int | None = None,
    is_tuning_new: bool = False,
) -> list[FoundCompile]:
    """Everything that was compiled between two snapshots, as caches and the server's log tell it.

    is_tuning_new: whether autotuners' results were to be expected, and so count as nothing.
    dir_fd, raises: as `find_compile_lines`.
    """
    new = find_new(before, part_tuning(after)[0] if is_tuning_new else after)
    lines = find_compile_lines(log_path, tuple(before.families), dir_fd=dir_fd)
    entries = [FoundCompile(family, one.kernel, one.t) for family in new for one in new[family]]
    return entries + [
        FoundCompile(line.family, line.text, None) for line in drop_loads(lines, before)
    ]


def _iter_lines(path: Path, offset: int, dir_fd: int | None) -> Iterator[bytes]:
    name = path if dir_fd is None else path.name
    with os.fdopen(open_regular(name, dir_fd=dir_fd), "rb") as file:
        file.seek(offset, os.SEEK_SET)
        rest = b""
        while chunk := file.read(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
            while len(rest) > _MAX_LINE_BYTES:
                yield rest[:_MAX_LINE_BYTES]
                rest = rest[_MAX_LINE_BYTES:]
        if rest:
            yield rest

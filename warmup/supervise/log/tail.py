"""The last lines of a server's log, in time and memory that do not depend on its size."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from warmup.report.api import get_count
from warmup.words.files import open_regular
from warmup.words.secrets import Redactor, strip_escapes

_BLOCK_BYTES = 16 * 1024
_MAX_LINE_CHARS = 2000
_END_CHARS = 500  # of a line that is too long, this much of its end is kept
_NUM_AFTER = 5  # lines shown of what a server says while it stops
_MAX_AFTER_BYTES = 64 * 1024
# Where the stop lies in the text. The redactor passes over control characters.
_MARK = b"\x1d"
_MARK_TEXT = "\x1d"
_NOISE = re.compile(r"nanobind: | - leaked | - \.\.\. skipped|See https://nanobind")
_HOLE = re.compile(rb"\0{64,}")


@dataclass(frozen=True)
class Tail:
    """lines: safe to print, without line ends. is_cut: whether the log holds more than that."""

    lines: tuple[str, ...]
    is_cut: bool


def read_tail(
    path: Path,
    *,
    max_lines: int = 30,
    max_bytes: int = 256 * 1024,
    redactor: Redactor,
    stopped_at: int | None = None,
    is_skipped: Callable[[str], bool] | None = None,
    dir_fd: int | None = None,
) -> Tail:
    """The last `max_lines` lines, as far as they lie in the last `max_bytes` of the file.

    Read from the end in blocks. Of a progress bar only the text after its last carriage return is
    kept; escape sequences go, invalid UTF-8 is escaped, long lines are shortened, what was dropped
    from the middle of the log (`LogFile`) shows as one line, and so does a long report of leaks.
    Never raises for what it finds: a log that cannot be read gives one line that says so.

    stopped_at: size of the file when the server was asked to stop. The lines are those before
    it, where the fault is; of what follows, the last few. is_skipped: lines to leave out. dir_fd:
    of the path's folder; then nothing else is reached, whatever has its name.
    """
    try:
        fd = open_regular(path if dir_fd is None else path.name, dir_fd=dir_fd)
    except FileNotFoundError:
        return Tail((f"(there is no log at {path})",), False)
    except OSError as error:
        return Tail((f"(log {path} cannot be read: {error.strerror})",), False)
    try:
        size = os.fstat(fd).st_size
        if size == 0:
            return Tail(("(the log is empty)",), False)
        end = size if stopped_at is None else min(stopped_at, size)
        window = _Window(fd, end, min(size, end + _MAX_AFTER_BYTES), redactor, is_skipped)
        return _read(window, size, max_lines, max_bytes)
    except OSError as error:
        return Tail((f"(log {path} cannot be read: {error.strerror})",), False)
    finally:
        os.close(fd)


@dataclass(frozen=True)
class _Window:
    """Offsets in an open log: the lines wanted end at `end`; `limit` is the end of what is read."""

    fd: int
    end: int
    limit: int
    redactor: Redactor
    is_skipped: Callable[[str], bool] | None

    def read_lines(self, num_lines: int, max_bytes: int) -> tuple[int, list[str], list[str]]:
        """(offset of the first byte read, lines up to `end`, lines from there to `limit`)."""
        start, data = _read_end(self.fd, self.end, num_lines, max_bytes, self.redactor.reach)
        if self.end < self.limit:
            # One piece for the redactor, because a secret may lie across the mark.
            after = _read_range(self.fd, self.end, self.limit)
            data = data.replace(_MARK, b"") + _MARK + after.replace(_MARK, b"")
        lines = _decode(self.fd, start, data, self.redactor).removesuffix("\n").split("\n")
        at = next((i for i, line in enumerate(lines) if _MARK_TEXT in line), len(lines))
        if at < len(lines) and not lines[at].startswith(_MARK_TEXT):
            at += 1  # a line that had begun before
        return start, self._clean(lines[:at]), self._clean(lines[at:])

    def _clean(self, lines: list[str]) -> list[str]:
        cleaned = [clean_line(line) for line in lines]
        return _fold([line for line in cleaned if not (self.is_skipped and self.is_skipped(line))])


def _read(window: _Window, size: int, max_lines: int, max_bytes: int) -> Tail:
    """Further back, until there are enough lines beside those that are skipped or folded."""
    num_lines = max_lines
    while True:
        start, lines, after = window.read_lines(num_lines, max_bytes)
        if len(lines) > max_lines or start == 0 or window.end - start >= max_bytes:
            break
        num_lines = max(num_lines, 1) * 4
    kept = lines[len(lines) - max_lines :] if max_lines < len(lines) else lines
    is_cut = start > 0 or len(kept) < len(lines)
    if size > window.limit:
        after = [f"[… {size - window.end} bytes more while it stopped …]"]
    elif len(after) > _NUM_AFTER:
        num_more = len(after) - _NUM_AFTER
        after = [f"[… {get_count(num_more, 'line')} while it stopped …]", *after[num_more:]]
    return Tail((*kept, *after), is_cut)


def _fold(lines: list[str]) -> list[str]:
    """One line for each long run of what nanobind reports as leaked when Python exits."""
    folded: list[str] = []
    for is_noise, group in itertools.groupby(lines, lambda line: bool(_NOISE.match(line))):
        run = list(group)
        is_folded = is_noise and len(run) > _NUM_AFTER
        folded += [run[0], f"[… {len(run) - 1} lines more of that …]"] if is_folded else run
    return folded


def clean_line(line: str, max_chars: int = _MAX_LINE_CHARS) -> str:
    """One line as a terminal would show it in the end, without its controls, shortened."""
    line = strip_escapes(line.rstrip("\r").rpartition("\r")[2])
    if len(line) <= max_chars:
        return line
    end = min(_END_CHARS, max_chars // 4)
    cut = len(line) - max_chars
    return f"{line[: max_chars - end]} [… {cut} characters …] {line[len(line) - end :]}"


def _read_end(fd: int, size: int, max_lines: int, max_bytes: int, reach: int) -> tuple[int, bytes]:
    """(offset, bytes from there to the end): enough for the lines, and `reach` before them."""
    blocks: list[bytes] = []
    start, num_lines, block_bytes = size, 0, _BLOCK_BYTES
    limit = max(size - max_bytes, 0)
    while start > limit and num_lines <= max_lines:
        begin = max(start - block_bytes, limit)
        blocks.append(_read_range(fd, begin, start))
        num_lines += blocks[-1].count(b"\n")
        start, block_bytes = begin, min(block_bytes * 2, 4 * _BLOCK_BYTES)
    begin = max(start - 4 * reach, 0)  # a character takes up to four bytes
    blocks.append(_read_range(fd, begin, start))
    return begin, b"".join(reversed(blocks))


def _read_range(fd: int, start: int, end: int) -> bytes:
    pieces = []
    while start < end:
        piece = os.pread(fd, end - start, start)
        if not piece:  # truncated meanwhile
            break
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)


def _decode(fd: int, start: int, data: bytes, redactor: Redactor) -> str:
    """Redacted text, with a line that says how much is missing for each run of NUL bytes."""
    text, done = "", 0
    for match in _HOLE.finditer(data):
        begin, end = match.span()
        missing = end - begin + (_count_hole_before(fd, start) if begin == 0 else 0)
        if begin > 0:
            text += _redact(data[done:begin], redactor, start + done > 0, True)
        text += "\n" if text and not text.endswith("\n") else ""
        text += f"[… {missing} bytes dropped …]\n"
        done = end
    return text + _redact(data[done:], redactor, start + done > 0, False)


def _redact(data: bytes, redactor: Redactor, is_start_cut: bool, is_end_cut: bool) -> str:
    """Redacted first, shortened then: where the log was cut there may be half a secret."""
    text = redactor.redact(data.decode("utf-8", "backslashreplace"))
    begin = redactor.reach if is_start_cut else 0
    return text[begin : len(text) - redactor.reach if is_end_cut else len(text)]


def _count_hole_before(fd: int, end: int) -> int:
    """Bytes of the hole that reaches up to `end`, as far as the filesystem can tell."""
    try:
        begin = os.lseek(fd, 0, os.SEEK_HOLE)
        return end - begin if begin < end <= _find_data(fd, begin, end) else 0
    except OSError:  # it cannot
        return 0


def _find_data(fd: int, begin: int, end: int) -> int:
    try:
        return os.lseek(fd, begin, os.SEEK_DATA)
    except OSError:  # ENXIO: a hole up to the end of the file
        return end

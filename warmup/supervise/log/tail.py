"""The last lines of a server's log, in time and memory that do not depend on its size."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from warmup.words.secrets import Redactor, strip_escapes

_BLOCK_BYTES = 16 * 1024
_MAX_LINE_CHARS = 2000
_END_CHARS = 500  # of a line that is too long, this much of its end is kept
_HOLE = re.compile(rb"\0{64,}")


@dataclass(frozen=True)
class Tail:
    """lines: safe to print, without line ends. is_cut: whether the log holds more than that."""

    lines: tuple[str, ...]
    is_cut: bool


def read_tail(
    path: Path, *, max_lines: int = 30, max_bytes: int = 256 * 1024, redactor: Redactor
) -> Tail:
    """The last `max_lines` lines, as far as they lie in the last `max_bytes` of the file.

    Read from the end in blocks. Of a progress bar only the text after its last carriage return is
    kept; escape sequences go, invalid UTF-8 is escaped, long lines are shortened, what was dropped
    from the middle of the log (`LogFile`) shows as one line. Never raises for what it finds: a
    log that cannot be read gives one line that says so.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return Tail((f"(there is no log at {path})",), False)
    except OSError as error:
        return Tail((f"(log {path} cannot be read: {error.strerror})",), False)
    try:
        return _read(fd, path, max_lines, max_bytes, redactor)
    except OSError as error:
        return Tail((f"(log {path} cannot be read: {error.strerror})",), False)
    finally:
        os.close(fd)


def _read(fd: int, path: Path, max_lines: int, max_bytes: int, redactor: Redactor) -> Tail:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return Tail((f"(log {path} cannot be read: it is no regular file)",), False)
    if status.st_size == 0:
        return Tail(("(the log is empty)",), False)
    start, data = _read_end(fd, status.st_size, max_lines, max_bytes, redactor.reach)
    text = _decode(fd, start, data, redactor)
    lines = text.removesuffix("\n").split("\n")
    kept = lines[len(lines) - max_lines :] if max_lines < len(lines) else lines
    return Tail(tuple(clean_line(line) for line in kept), start > 0 or len(kept) < len(lines))


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

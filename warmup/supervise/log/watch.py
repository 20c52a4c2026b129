"""Follow a server's log while it grows: crash patterns, and the last line for heartbeats."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from warmup.supervise.log.tail import clean_line, read_tail
from warmup.words.secrets import Redactor, strip_escapes

_CHUNK_BYTES = 256 * 1024
_POLL_BYTES = 8 * 1024 * 1024  # a burst is spread over several polls
_CONTEXT_BYTES = 4096
_MAX_CHARS = 300


class LogWatch:
    """Looks at each new byte of one log once. Patterns are substrings of a line."""

    def __init__(
        self, path: Path, patterns: Sequence[str], *, redactor: Redactor | None = None
    ) -> None:
        self.path = path
        self._redactor = redactor or Redactor()
        self._patterns = tuple(pattern.encode() for pattern in patterns if pattern)
        self._overlap = max((len(pattern) for pattern in self._patterns), default=1) - 1
        self._offset = 0

    def poll(self) -> str | None:
        """The line (bounded, redacted) that holds the first pattern among the new bytes, if any.

        Goes on behind that match the next time.
        """
        if not self._patterns:
            return None
        try:
            size = self.path.stat().st_size
            if size == self._offset:
                return None
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:  # not there yet; that it cannot be read is the tail's to say
            return None
        try:
            return self._scan(fd, size)
        finally:
            os.close(fd)

    def last_line(self) -> str:
        """The last line that says something; "" while there is none."""
        try:
            if not self.path.stat().st_size:
                return ""
        except OSError:
            return ""
        tail = read_tail(self.path, max_lines=5, max_bytes=_CONTEXT_BYTES, redactor=self._redactor)
        said = [line for line in tail.lines if line.strip()]
        return clean_line(said[-1].strip(), _MAX_CHARS) if said else ""

    def _scan(self, fd: int, size: int) -> str | None:
        if size < self._offset:  # the server truncated its log
            self._offset = 0
        budget = _POLL_BYTES
        while self._offset < size and budget > 0:
            self._offset = _skip_hole(fd, self._offset, size)
            begin = max(self._offset - self._overlap, 0)
            data = os.pread(fd, _CHUNK_BYTES + self._offset - begin, begin)
            end = begin + len(data)
            if end <= self._offset:
                return None
            found = self._find_first(data, self._offset - begin)
            if found is not None:
                position, length = found
                self._offset = begin + position + length
                return self._get_line(fd, begin + position, length)
            budget -= end - self._offset
            self._offset = end
        return None

    def _find_first(self, data: bytes, num_seen: int) -> tuple[int, int] | None:
        """(position, length) of the first match that ends behind the bytes already seen."""
        matches = [
            (position, len(pattern))
            for pattern in self._patterns
            if (position := data.find(pattern, max(num_seen - len(pattern) + 1, 0))) >= 0
        ]
        return min(matches, default=None)

    def _get_line(self, fd: int, position: int, length: int) -> str:
        begin = max(position - _CONTEXT_BYTES, 0)
        data = os.pread(fd, position - begin + length + _CONTEXT_BYTES, begin)
        at = position - begin
        before = max(data.rfind(b"\n", 0, at), data.rfind(b"\r", 0, at)) + 1
        ends = (data.find(end, at + length) for end in (b"\n", b"\r"))
        after = min((end for end in ends if end >= 0), default=len(data))
        pattern = data[at : at + length].decode("utf-8", "backslashreplace")
        # Redacted with all of its surroundings, shortened then: no half of a secret is left over.
        text = self._redactor.redact(data[before:after].decode("utf-8", "backslashreplace"))
        text = strip_escapes(text).strip()
        start = max(text.find(pattern) - _MAX_CHARS // 3, 0)
        return text[start : start + _MAX_CHARS]


def _skip_hole(fd: int, offset: int, size: int) -> int:
    """The next offset that holds data: what `LogFile` gave back need not be read."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        return size if error.errno == errno.ENXIO else offset

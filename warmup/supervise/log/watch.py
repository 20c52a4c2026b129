"""Follow a server's log while it grows: crash patterns, and the last line for heartbeats."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path

from warmup.supervise.log.exceptions import TRACEBACK, find_reason, list_exceptions
from warmup.supervise.log.own_polls import OwnPolls
from warmup.supervise.log.tail import Tail, clean_line, read_tail
from warmup.words.files import open_regular
from warmup.words.secrets import Redactor, strip_escapes

_CHUNK_BYTES = 256 * 1024
_POLL_BYTES = 8 * 1024 * 1024  # a burst is spread over several polls
_CONTEXT_BYTES = 4096
_MAX_CHARS = 300
_TRACEBACK_BYTES = 256 * 1024
_TRACEBACK_S = 1.0  # how long a traceback is waited for once its first line is there
_NUM_LAST = 60  # lines in which a dead leader's reason is looked for


class LogWatch:
    """Looks at each new byte of one log once. Patterns are substrings of a line.

    own_polls: what of an access log we cause ourselves; whoever polls tells it. dir_fd: of the
    path's folder; then nothing else is reached, whatever has its name.
    """

    def __init__(
        self,
        path: Path,
        patterns: Sequence[str],
        *,
        redactor: Redactor | None = None,
        dir_fd: int | None = None,
    ) -> None:
        self.path = path
        self._dir_fd = dir_fd
        self.own_polls = OwnPolls()
        self._redactor = redactor or Redactor()
        self._patterns = tuple(pattern.encode() for pattern in patterns if pattern)
        self._overlap = max((len(pattern) for pattern in self._patterns), default=1) - 1
        self._offset = 0
        # A pattern's line that announces a traceback: its text, where it is, until when we wait.
        self._announced: tuple[str, int, float] | None = None

    @property
    def is_pending(self) -> bool:
        """Whether a pattern was met whose traceback is still being written."""
        return self._announced is not None

    def poll(self, *, is_over: bool = False) -> str | None:
        """The line (bounded, redacted) that holds the first pattern among the new bytes, if any.

        Where that line ends in `Traceback (most recent call last):`, or the next one is that, the
        exception's own line is put in place of these words, once it is there; is_over: it will not
        come any more. Goes on behind that match the next time.
        """
        if not self._patterns:
            return None
        try:
            size = self.find_size() or 0
            if size == self._offset and self._announced is None:
                return None
            name = self.path if self._dir_fd is None else self.path.name
            fd = open_regular(name, dir_fd=self._dir_fd)
        except OSError:  # not there yet; that it cannot be read is the tail's to say
            return None
        try:
            if self._announced is None:
                self._announced = self._scan(fd, size)
            return self._find_told(fd, is_over)
        finally:
            os.close(fd)

    def find_size(self) -> int | None:
        """Of the log, in bytes; None where it is not there."""
        try:
            name = self.path if self._dir_fd is None else self.path.name
            return os.stat(name, dir_fd=self._dir_fd, follow_symlinks=False).st_size
        except OSError:
            return None

    def read_tail(self, max_lines: int, stopped_at: int | None = None) -> Tail:
        """`log.tail.read_tail` of it, without the lines that our own polls caused."""
        return read_tail(
            self.path,
            max_lines=max_lines,
            redactor=self._redactor,
            stopped_at=stopped_at,
            is_skipped=self.own_polls.has_caused,
            dir_fd=self._dir_fd,
        )

    def _find_told(self, fd: int, is_over: bool) -> str | None:
        if self._announced is None:
            return None
        line, position, until = self._announced
        data = os.pread(fd, _TRACEBACK_BYTES, position)
        text = self._redactor.redact(data.decode("utf-8", "backslashreplace"))
        lines = strip_escapes(text).split("\n")[:-1]
        if line.endswith(TRACEBACK) or any(TRACEBACK in each for each in lines[1:2]):
            exceptions = list_exceptions(lines)
            if not exceptions and not is_over and time.monotonic() < until:
                return None
            if exceptions:
                words = line.removesuffix(TRACEBACK).rstrip()
                line = f"{words} {exceptions[0][:_MAX_CHARS]}"
        self._announced = None
        return line

    def has_pattern(self, data: bytes) -> bool:
        """Whether these bytes, which another source than the log gave, hold a pattern."""
        return any(pattern in data for pattern in self._patterns)

    def find_reason(self) -> str | None:
        """What the log gives as the reason why its process ended, among its last lines."""
        tail = self.read_tail(_NUM_LAST)
        reason = find_reason(list(tail.lines))
        return None if reason is None else clean_line(reason, _MAX_CHARS)

    def last_line(self) -> str:
        """The last line that says something; "" while there is none."""
        if not self.find_size():
            return ""
        said = [line for line in self.read_tail(5).lines if line.strip()]
        return clean_line(said[-1].strip(), _MAX_CHARS) if said else ""

    def _scan(self, fd: int, size: int) -> tuple[str, int, float] | None:
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

    def _get_line(self, fd: int, position: int, length: int) -> tuple[str, int, float]:
        """(the line, where it begins, until when a traceback below it is waited for)"""
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
        line = text[start : start + _MAX_CHARS]
        return line, begin + before, time.monotonic() + _TRACEBACK_S


def _skip_hole(fd: int, offset: int, size: int) -> int:
    """The next offset that holds data: what `LogFile` gave back need not be read."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        return size if error.errno == errno.ENXIO else offset

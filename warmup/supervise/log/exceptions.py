"""What a log gives as the reason of an end: the exception's own line below its traceback."""

from __future__ import annotations

import re
from collections.abc import Iterable

TRACEBACK = "Traceback (most recent call last):"
# `RuntimeError: no device`, `queue.Empty`; what loggers put before a line is not one
_EXCEPTION = re.compile(r"(?!(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b)[A-Za-z_][\w.]*(?:: .*)?$")
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_ERROR = re.compile(r"\b(?:error|fatal|critical|panic|abort(?:ed|ing)?|cannot|failed)\b", re.I)
ELSEWHERE = "See root cause above"  # vLLM's last words point to an earlier traceback


def list_exceptions(lines: Iterable[str]) -> list[str]:
    """The exception's line of each traceback, in order; of a chain the last one.

    Frames are indented, and a logger may put the same words before each line of them (vLLM does).
    One whose exception is not there (yet) is left out.
    """
    found: list[str] = []
    before: str | None = None  # what stands before each line of the traceback we are in
    is_chained = False
    for line in lines:
        if TRACEBACK in line:
            before = line.partition(TRACEBACK)[0]
            if is_chained:
                found.pop()
            is_chained = False
            continue
        text = line.removeprefix(before) if before else line
        if before is not None and _EXCEPTION.match(text):
            found.append(text.strip())
            before = None
        elif found and any(mark in line for mark in _CHAINED):
            is_chained = True
    return found


def find_trouble(lines: Iterable[str]) -> int | None:
    """The number, from 0, of the first line that a traceback begins or that speaks of an error."""
    for number, line in enumerate(lines):
        if TRACEBACK in line or _ERROR.search(line):
            return number
    return None


def find_reason(lines: list[str]) -> str | None:
    """The exception that ended a process, or else its last line that speaks of an error."""
    exceptions = list_exceptions(lines)
    telling = [line for line in exceptions if ELSEWHERE not in line] or exceptions
    if telling:
        return telling[-1]
    return next((line.strip() for line in reversed(lines) if _ERROR.search(line)), None)

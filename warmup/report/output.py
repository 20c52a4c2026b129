"""One standard stream, written line by line, that never ends a warm-up.

`warmup-ci run | head -1` closes its reader early, a cancelled step loses its terminal, a CI shell
may speak ASCII alone: the servers must still be stopped and the markers still be written.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import TextIO

from warmup.words.errors import HostError
from warmup.words.escape import get_printable


def is_actions(environ: Mapping[str, str]) -> bool:
    """Whether a step of GitHub Actions reads what is printed."""
    return environ.get("GITHUB_ACTIONS") == "true"


def guard_line(text: str) -> str:
    """A line that may hold foreign text, such that the runner sees no command in it.

    The runner takes `::command::` at a line's start (after blanks) and, in its older form,
    `##[command]` anywhere in a line (actions/runner `src/Runner.Common/ActionCommand.cs`).
    """
    text = text.replace("##[", "## [")
    return f": {text.lstrip()[1:]}" if text.lstrip().startswith("::") else text


class Output:
    """Lines on a text stream; None is one that was closed before we began (`2>&-`).

    is_guarded: whether lines that the runner of GitHub Actions would obey are made harmless; None:
    where the environment says that it reads them. fault: the error that ended the stream, None as
    long as it takes lines. A reader that went away (`| head`) is not a fault.
    """

    def __init__(self, stream: TextIO | None, is_guarded: bool | None = None) -> None:
        self.stream = io.StringIO() if stream is None else stream
        self.fault: OSError | None = None
        self._is_guarded = is_actions(os.environ) if is_guarded is None else is_guarded
        self._is_open = stream is not None

    @property
    def is_terminal(self) -> bool:
        return self._is_open and self.stream.isatty()

    def line(self, text: str = "") -> None:
        """A line, or several; what the stream's encoding lacks is written as an escape."""
        if self._is_guarded:
            text = "".join(guard_line(part) for part in re.split("([\r\n])", text))
        self.raw_line(text)

    def document(self, text: str) -> None:
        """One JSON document: guarded in JSON's own way, so that it says the same."""
        self.raw_line(text.replace("##[", "#\\u0023[") if self._is_guarded else text)

    def raw_line(self, text: str) -> None:
        """One line past the guard: for workflow commands themselves."""
        if not self._is_open:
            return
        encoding = self.stream.encoding or "utf-8"
        safe = text.encode(encoding, "backslashreplace").decode(encoding)
        try:
            self.stream.write(safe + "\n")
            self.stream.flush()
        except OSError as error:
            self._is_open = False
            if error.errno != errno.EPIPE:
                self.fault = error


class DataOutput(Output):
    """stdout of a command that only prints what it found: half of that must not look like all.

    Raises HostError with the first line that is lost.
    """

    def raw_line(self, text: str) -> None:
        super().raw_line(text)
        if self.fault is not None:
            raise HostError("cannot write to stdout", cause=self.fault.strerror) from self.fault


def show(document: object, lines: Iterable[str], *, json_output: bool) -> None:
    """What a command found, on stdout: one JSON document, or lines for people.

    lines: made only where they are shown; what a terminal would obey is escaped here. Raises
    HostError where stdout does not take all of it.
    """
    out = DataOutput(sys.stdout)
    if json_output:
        from warmup.words.encoding import encode_json  # `exec`, which prints lines, does without

        out.document(encode_json(document).decode())
        return
    for line in lines:
        out.line(get_printable(line))


def flush_standard_streams() -> None:
    """Before the interpreter ends: it would try what failed again, and exit with status 120."""
    for name in ("stdout", "stderr"):
        try:
            if (stream := getattr(sys, name)) is not None:
                stream.flush()
        except OSError:  # what was lost has been told
            setattr(sys, name, None)

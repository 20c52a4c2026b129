"""File names as JSON and as one printable line: any bytes but NUL and `/` may occur in one."""

from __future__ import annotations

import re

_ESCAPED = re.compile(r"%(25|[89A-F][0-9A-F])")
_UNSAFE = re.compile("[%\udc80-\udcff]")


def to_text(name: str) -> str:
    """A file name as text that every JSON reader takes; undone by `from_text`.

    Bytes that are no UTF-8 (surrogate escapes, as `os.fsdecode` makes them) become `%XX`, and
    `%` itself `%25`.
    """
    if "%" not in name and name.isascii():
        return name
    return _UNSAFE.sub(lambda m: "%25" if m[0] == "%" else f"%{ord(m[0]) - 0xDC00:02X}", name)


def from_text(text: str) -> str:
    """The file name that `to_text` was given."""
    if "%" not in text:
        return text
    return _ESCAPED.sub(lambda m: "%" if m[1] == "25" else chr(0xDC00 + int(m[1], 16)), text)


def to_line(name: str) -> str:
    """A file name for a human's eyes: one line, nothing that a terminal would obey."""
    text = to_text(name)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

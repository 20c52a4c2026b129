"""Foreign text made harmless: for JSON, for a terminal, for one line of a message.

The one owner. File names may hold any bytes but NUL and `/`, and reach Python with lone surrogates
for what is not UTF-8 (PEP 383); servers and users write whatever they like.
"""

from __future__ import annotations

import re

_ESCAPED = re.compile(r"%(25|[89A-F][0-9A-F])")
_UNSAFE = re.compile("[%\udc80-\udcff]")


def to_text(name: str) -> str:
    """A file name as text that every JSON reader takes; undone by `from_text`.

    Bytes that are not UTF-8 (surrogate escapes, as `os.fsdecode` makes them) become `%XX`, and
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


def get_printable(text: str) -> str:
    """One line that no terminal acts upon: control characters as escapes, the rest as it is."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def to_line(name: str) -> str:
    """A file name for a human's eyes: one line, nothing that a terminal would obey."""
    return get_printable(to_text(name))


def clean(text: str) -> str:
    """Text that UTF-8 can carry: a lone surrogate becomes the text of its escape, `\\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")

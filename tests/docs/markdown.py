"""What a page of documentation says that can be held against the tree: links, blocks, code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_FENCE = re.compile(r"(`{3,}|~{3,})\s*([\w-]*)")
_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"#{1,6}\s+(.*?)\s*#*$")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass
class Block:
    """A block of code, fenced or indented by four. line: of the page, from 1. name: of the file
    that the line before it introduces (`NAME`: or … `NAME`:), "" without one."""

    line: int
    language: str = ""
    lines: list[str] = field(default_factory=list)
    name: str = ""

    @property
    def text(self) -> str:
        return "\n".join([*self.lines, ""])


@dataclass(frozen=True)
class Document:
    """prose: (number, text) of each line outside of blocks."""

    blocks: tuple[Block, ...]
    prose: tuple[tuple[int, str], ...]

    @property
    def anchors(self) -> set[str]:
        """As GitHub makes them: lower case, punctuation dropped, a number for the second one."""
        found: set[str] = set()
        for _, text in self.prose:
            if match := _HEADING.fullmatch(text):
                plain = re.sub(r"[^\w\- ]", "", match[1].lower()).replace(" ", "-")
                number = 0
                while (name := f"{plain}-{number}" if number else plain) in found:
                    number += 1
                found.add(name)
        return found

    def list_links(self) -> Iterator[tuple[int, str]]:
        for number, text in self.prose:
            for match in _LINK.finditer(_CODE.sub("", text)):
                yield number, match[1]

    def list_code(self) -> Iterator[tuple[int, str]]:
        """What stands between backticks, also where a line ends within it."""
        for first, text in self._list_paragraphs():
            for match in _CODE.finditer(text):
                yield first + text[: match.start()].count("\n"), " ".join(match[2].split())

    def _list_paragraphs(self) -> Iterator[tuple[int, str]]:
        first, lines = 0, list[str]()
        for number, text in (*self.prose, (0, "")):
            if text.strip() and (not lines or number == first + len(lines)):
                first = first if lines else number
                lines.append(text)
                continue
            if lines:
                yield first, "\n".join(lines)
            first, lines = number, [text] if text.strip() else []


def parse(text: str) -> Document:
    text = _COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text)
    blocks: list[Block] = []
    prose: list[tuple[int, str]] = []
    fence, block, was_blank, before = "", None, True, ""
    for number, line in enumerate(text.splitlines(), start=1):
        opened = _FENCE.match(line)
        if fence and block is not None:
            if opened and opened[1].startswith(fence) and not opened[2]:
                fence, block = "", None
            else:
                block.lines.append(line)
        elif opened:
            fence, block = opened[1], Block(number, opened[2], name=_find_name(before))
            blocks.append(block)
        elif line.startswith("    ") and (block is not None or was_blank):
            if block is None:
                block = Block(number, name=_find_name(before))
                blocks.append(block)
            block.lines.append(line[4:])
        elif not line.strip() and block is not None:
            block.lines.append("")
        else:
            block = None
            prose.append((number, line))
        was_blank = not line.strip()
        before = line if line.strip() else before
    for each in blocks:
        while each.lines and not each.lines[-1]:
            each.lines.pop()
    return Document(tuple(blocks), tuple(prose))


def _find_name(before: str) -> str:
    match = re.search(r"`([\w./-]+\.\w+)`:$", before.rstrip())
    return match[1] if match else ""

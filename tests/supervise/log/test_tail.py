from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from warmup.supervise.log.tail import Tail, read_tail
from warmup.words.secrets import Redactor

GIB = 1 << 30


def read(path: Path, data: bytes | None = None, max_lines: int = 30) -> Tail:
    if data is not None:
        path.write_bytes(data)
    return read_tail(path, max_lines=max_lines, redactor=Redactor())


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"one\ntwo\n", ("one", "two")),
        (b"one\ntwo", ("one", "two")),
        (b"one\r\ntwo\r\n", ("one", "two")),
        (b"one\n\n\ntwo\n", ("one", "", "", "two")),
        (b"  1%\r 50%\r100%\n", ("100%",)),
        (b"  1%\r 50%\r100%\r\n", ("100%",)),
        (b"  1%\r 50%\r", (" 50%",)),
        (b"\x1b[1;31mred\x1b[0m\n", ("red",)),
        (b"\x1b]0;title\x07shown\n", ("shown",)),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", ("link",)),
        (b"\x1b]0;never closed\nnext\n", ("", "next")),
        (b"a\x00b\x08c\x0bd\x0ce\n", ("abcde",)),
        (b"bad \xff\xfe utf-8 \xc3\n", ("bad \\xff\\xfe utf-8 \\xc3",)),
        ("grün ✓ \u2028 \u202egnp.exe\n".encode(), ("grün ✓  gnp.exe",)),
        (b"::error::fake\n##[error]fake\n", ("::error::fake", "##[error]fake")),
    ],
)
def test_lines_as_a_terminal_would_show_them(
    tmp_path: Path, data: bytes, lines: tuple[str, ...]
) -> None:
    assert read(tmp_path / "log", data) == Tail(lines, is_cut=False)


@pytest.mark.parametrize("num_lines", [1, 29, 30, 31, 5000])
def test_only_the_last_lines(tmp_path: Path, num_lines: int) -> None:
    lines = [f"line {i} " + "x" * (i % 300) for i in range(num_lines)]
    tail = read(tmp_path / "log", ("\n".join(lines) + "\n").encode())
    assert list(tail.lines) == lines[-30:]
    assert tail.is_cut == (num_lines > 30)


def test_long_line_keeps_both_ends(tmp_path: Path) -> None:
    (line,) = read(tmp_path / "log", b"begin" + b"x" * 100_000 + b"end\n").lines
    assert line.startswith("beginxxx")
    assert line.endswith("xxxend")
    assert "[… 98008 characters …]" in line
    assert len(line) < 2100


def test_gibibyte_without_a_newline_costs_nothing(tmp_path: Path) -> None:
    """A sparse one: its zeros are what a trimmed log would show."""
    path = tmp_path / "log"
    with path.open("wb") as log:
        log.truncate(GIB)
        log.seek(0, os.SEEK_END)
        log.write(b"." * 300_000 + b"\r100%|last")
    tracemalloc.start()
    tail = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tail == Tail(("100%|last",), is_cut=True)
    assert peak < 32 << 20


def test_log_that_is_one_hole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as log:
        log.truncate(GIB)
    assert read(path).lines == (f"[… {GIB} bytes dropped …]",)


def test_missing_empty_and_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert read(path).lines == (f"(there is no log at {path})",)
    assert read(path, b"").lines == ("(the log is empty)",)
    assert "cannot be read" in read(tmp_path).lines[0]
    os.mkfifo(tmp_path / "pipe")
    assert read(tmp_path / "pipe").lines[0].endswith("it is no regular file)")
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be read" in read(tmp_path / "loop").lines[0]


def test_no_half_of_a_secret_at_any_cut(tmp_path: Path) -> None:
    """The window's start falls on each byte of a secret in turn."""
    secret = "s3cr3t-" + "abcdefghij" * 3
    path = tmp_path / "log"
    redactor = Redactor((secret,))
    for num_after in range(900, 900 + len(secret) + 4):
        path.write_bytes(b"x" * 5000 + secret.encode() + b"y" * num_after)
        tail = read_tail(path, max_bytes=1000, redactor=redactor)
        text = "".join(tail.lines)
        assert not any(secret[i : i + 6] in text for i in range(len(secret) - 5))


def test_no_half_of_a_secret_beside_a_hole(tmp_path: Path) -> None:
    secret = "s3cr3t-" + "abcdefghij" * 3
    path = tmp_path / "log"
    for cut in range(1, len(secret)):
        half, rest = secret[:cut].encode(), secret[cut:].encode()
        for before, after in ((half, b""), (b"", rest)):
            path.write_bytes(b"a" * 900 + before + b"\0" * 4096 + after + b"b" * 900)
            text = "".join(read_tail(path, redactor=Redactor((secret,))).lines)
            assert "[… 4096 bytes dropped …]" in text
            assert not any(secret[i : i + 6] in text for i in range(len(secret) - 5))
            assert text.startswith("aaa")
            assert text.endswith("bbb")

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from warmup.supervise.log.own_polls import USER_AGENT, OwnPolls
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
    assert read(tmp_path / "pipe").lines[0].endswith("not a regular file)")
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


LEAKS = b"nanobind: leaked 60 types!\n" + b' - leaked type "triton._C.libtriton.ir.block"\n' * 60


def test_the_fault_is_shown_and_not_what_the_stop_says(tmp_path: Path) -> None:
    """sglang with Triton: 200 lines of shutdown pushed the exception out of the tail."""
    path = tmp_path / "log"
    fault = b"Traceback\n  File\nRuntimeError: the fault\n"
    path.write_bytes(b"earlier\n" * 100 + fault + b"ending\n" * 200)
    stopped_at = 800 + len(fault)
    tail = read_tail(path, max_lines=3, redactor=Redactor(), stopped_at=stopped_at)
    assert tail.lines[:3] == ("Traceback", "  File", "RuntimeError: the fault")
    assert tail.lines[3:] == ("[… 195 lines while it stopped …]", *["ending"] * 5)
    assert tail.is_cut


def test_few_lines_of_the_stop_are_all_shown(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo and a half\nbye\n")
    for stopped_at in (len(b"one\ntwo"), len(b"one\ntwo and a half\n")):
        tail = read_tail(path, max_lines=2, redactor=Redactor(), stopped_at=stopped_at)
        assert tail == Tail(("one", "two and a half", "bye"), is_cut=False)
    all_after = read_tail(path, max_lines=2, redactor=Redactor(), stopped_at=0)
    assert all_after.lines == ("one", "two and a half", "bye")


def test_a_flood_while_it_stops_is_counted_only(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"the fault\n" + b"x" * 1_000_000)
    tail = read_tail(path, redactor=Redactor(), stopped_at=10)
    assert tail.lines == ("the fault", "[… 1000000 bytes more while it stopped …]")


def test_secret_across_the_stop(tmp_path: Path) -> None:
    path, secret = tmp_path / "log", "s3cr3t-abcdefghij"
    path.write_bytes(b"a " + secret.encode() + b" b\nc\n")
    for stopped_at in range(2, 3 + len(secret)):
        tail = read_tail(path, redactor=Redactor((secret,)), stopped_at=stopped_at)
        assert tail.lines == ("a *** b", "c")


def test_report_of_leaks_is_one_line(tmp_path: Path) -> None:
    """Also of a server that ended by itself, before anybody stopped it."""
    tail = read(tmp_path / "log", b"RuntimeError: the fault\n" + LEAKS + b"end\n")
    assert tail.lines == (
        "RuntimeError: the fault",
        "nanobind: leaked 60 types!",
        "[… 60 lines more of that …]",
        "end",
    )


@pytest.mark.parametrize("num_polls", [0, 1, 40, 1500])
def test_own_polls_do_not_fill_the_tail(tmp_path: Path, num_polls: int) -> None:
    polls = OwnPolls("/health")
    polls.add(51122)
    uvicorn = '127.0.0.1:{} - "GET {} HTTP/1.1" 503 Service Unavailable\n'
    ours = f"INFO:     {uvicorn.format(51122, '/health')}"
    others = f"INFO:     {uvicorn.format(51123, '/health')}INFO:     {uvicorn.format(51122, '/x')}"
    named = f'127.0.0.1 - - "GET /health HTTP/1.1" 503 "-" "{USER_AGENT}"\n'
    path = tmp_path / "log"
    path.write_text("loading\n" + others + (ours + named) * num_polls)
    tail = read_tail(path, max_lines=3, redactor=Redactor(), is_skipped=polls.has_caused)
    assert tail == Tail(("loading", *others.splitlines()), is_cut=False)

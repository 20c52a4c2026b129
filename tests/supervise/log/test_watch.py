from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.supervise.toys import wait_for
from warmup.supervise.log import watch as log_watch
from warmup.supervise.log.file import LogFile
from warmup.supervise.log.watch import LogWatch
from warmup.words.secrets import Redactor

PATTERN = "Scheduler hit an exception"


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as log:
        log.write(data)


@pytest.mark.parametrize("cut", range(1, len(PATTERN)))
def test_pattern_split_across_writes(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log"
    watch = LogWatch(path, ["other", PATTERN])
    assert watch.poll() is None  # not there yet
    append(path, b"before\n[rank 1] " + PATTERN[:cut].encode())
    assert watch.poll() is None
    append(path, PATTERN[cut:].encode() + b": oh\nafter\n")
    assert watch.poll() == f"[rank 1] {PATTERN}: oh"
    assert watch.poll() is None


def test_pattern_split_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    for size in (1, 2, 7, len(PATTERN) - 1, len(PATTERN), len(PATTERN) + 1):
        monkeypatch.setattr(log_watch, "_CHUNK_BYTES", size)
        path.write_bytes(b"x" * 50 + PATTERN.encode() + b"y" * 50)
        assert LogWatch(path, [PATTERN]).poll() == "x" * 50 + PATTERN + "y" * 50


def test_first_of_several_patterns_and_then_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, b"a\nsecond bad\nb\nfirst worse\n")
    watch = LogWatch(path, ["worse", "bad", ""])
    assert watch.poll() == "second bad"
    assert watch.poll() == "first worse"
    assert watch.poll() is None


def test_no_patterns(tmp_path: Path) -> None:
    append(tmp_path / "log", b"anything\n")
    assert LogWatch(tmp_path / "log", []).poll() is None


def test_line_is_clean_bounded_and_redacted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    secret = "s3cr3t-value"
    line = f"{'a' * 1000}\x1b[31m{PATTERN}\x1b[0m {secret} \xff {'b' * 1000}"
    append(path, b"10%\r20%\r" + line.encode("latin-1") + b"\r30%\n")
    found = LogWatch(path, [PATTERN], redactor=Redactor((secret,))).poll()
    assert found is not None
    assert f"a{PATTERN} *** \\xff bbb" in found
    assert len(found) <= 300


def test_burst_is_spread_over_polls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_watch, "_POLL_BYTES", 1 << 20)
    path = tmp_path / "log"
    append(path, b"x" * (5 << 20) + PATTERN.encode())
    watch = LogWatch(path, [PATTERN])
    polls = []

    def is_found() -> bool:
        polls.append(watch.poll())
        return polls[-1] is not None

    wait_for(is_found, "the pattern was not found")
    assert len(polls) > 4


def test_gibibyte_of_nothing_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, b"head\n")
    watch = LogWatch(path, [PATTERN])
    assert watch.poll() is None
    os.truncate(path, 1 << 30)
    append(path, b"\n" + PATTERN.encode() + b"\n")
    assert watch.poll() == PATTERN


def test_pattern_in_a_log_that_is_being_trimmed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    watch, log = LogWatch(path, [PATTERN]), LogFile(path, 100_000)
    for _ in range(50):
        append(path, b"y" * 50_000 + b"\n")
        assert watch.poll() is None
        log.trim()
    append(path, PATTERN.encode() + b"\n")
    assert watch.poll() == PATTERN


def test_truncated_log_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, b"x" * 1000)
    watch = LogWatch(path, [PATTERN])
    assert watch.poll() is None
    path.write_bytes(PATTERN.encode() + b"\n")
    assert watch.poll() == PATTERN


TRACEBACK = f"{PATTERN}: Traceback (most recent call last):\n  File 'a.py', line 1\n"


def test_the_exception_is_named_and_not_its_traceback(tmp_path: Path) -> None:
    path = tmp_path / "log"
    watch = LogWatch(path, [PATTERN], redactor=Redactor(("s3cr3t-value",)))
    append(path, f"[TP1] {TRACEBACK}".encode())
    assert watch.poll() is None  # the exception is still to come
    assert watch.is_pending
    append(path, b"RuntimeError: no s3cr3t-value")
    assert watch.poll() is None  # nor is this line whole
    append(path, b"\n")
    assert watch.poll() == f"[TP1] {PATTERN}: RuntimeError: no ***"
    assert not watch.is_pending
    assert watch.poll() is None


def test_a_traceback_on_the_next_line_is_the_patterns(tmp_path: Path) -> None:
    """vLLM 0.32.0: `logger.exception("WorkerProc failed to start.")`, prefixed line by line."""
    before = "(Worker pid=7) ERROR 11-24 15:33:19 [multiproc_executor.py:953] "
    said = ["WorkerProc failed to start.", "Traceback (most recent call last):", '  File "a.py"']
    path = tmp_path / "log"
    path.write_text("".join(f"{before}{line}\n" for line in said))
    watch = LogWatch(path, ["WorkerProc failed to start"])
    assert watch.poll() is None
    assert watch.is_pending
    with path.open("a") as file:
        file.write(f"{before}safetensors.SafetensorError: header: cut\n(Engine) INFO shutdown\n")
    told = f"{before}WorkerProc failed to start. safetensors.SafetensorError: header: cut"
    assert watch.poll() == told


def test_a_traceback_that_never_ends_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    append(path, TRACEBACK.encode())
    line = TRACEBACK.partition("\n")[0]
    assert LogWatch(path, [PATTERN]).poll(is_over=True) == line
    monkeypatch.setattr(log_watch, "_TRACEBACK_S", 0.0)
    assert LogWatch(path, [PATTERN]).poll() == line


def test_last_line_is_not_one_of_our_own_polls(tmp_path: Path) -> None:
    path = tmp_path / "log"
    watch = LogWatch(path, [])
    watch.own_polls.path = "/health"
    watch.own_polls.add(51122)
    append(path, b"loading weights\n" + b'127.0.0.1:51122 - "GET /health HTTP/1.1" 503\n' * 500)
    assert watch.last_line() == "loading weights"


def test_last_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    watch = LogWatch(path, [], redactor=Redactor(("s3cr3t-value",)))
    assert watch.last_line() == ""
    append(path, b"")
    assert watch.last_line() == ""
    append(path, b"first\nloading s3cr3t-value:  1%\rloading s3cr3t-value: 20%\n\n  \n")
    assert watch.last_line() == "loading ***: 20%"
    append(path, b"z" * 10_000)
    assert len(watch.last_line()) < 350

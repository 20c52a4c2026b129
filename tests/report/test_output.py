from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from warmup.report.output import Output, show

WRITE_THREE = """
import sys
from warmup.report.output import Output
out = Output(sys.stdout)
sys.stdin.readline()                     # until the reader is gone
for word in ("one", "two", "three"):
    out.line(word)
sys.exit(7 if out.fault is None else 8)
"""


def start_writer(stdout: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", WRITE_THREE]
    return subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE, cwd=Path.cwd()
    )


def test_a_reader_that_went_away_ends_nothing() -> None:
    reader, writer = os.pipe()
    child = start_writer(writer)
    os.close(writer)
    os.close(reader)
    _, stderr = child.communicate(b"\n", timeout=30)
    assert (child.returncode, stderr) == (7, b"")


def test_a_full_disk_is_a_fault_and_ends_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        child = start_writer(full.fileno())
        _, stderr = child.communicate(b"\n", timeout=30)
    assert (child.returncode, stderr) == (8, b"")


def test_a_stream_that_was_lost_once_stays_so() -> None:
    class Flaky(io.StringIO):
        def flush(self) -> None:
            if self.getvalue() == "one\n":
                raise OSError(errno.ENOSPC, "full")

    stream = Flaky()
    output = Output(stream)
    for word in ("one", "two"):
        output.line(word)
    assert stream.getvalue() == "one\n"
    assert output.fault is not None


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_escaped(encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    Output(stream).line("é 模 \udcff")
    expected = {
        "ascii": rb"\xe9 \u6a21 \udcff",
        "latin-1": b"\xe9" + rb" \u6a21 \udcff",
        "utf-8": "é 模 ".encode() + rb"\udcff",
    }
    assert raw.getvalue() == expected[encoding] + b"\n"


def test_a_stream_closed_before_we_began_takes_lines_silently() -> None:
    output = Output(None)
    output.line("lost")
    assert not output.is_terminal
    assert output.fault is None


def test_the_guard_sees_lines_but_not_our_own_commands() -> None:
    stream = io.StringIO()
    output = Output(stream, is_guarded=True)
    output.line("::error::a\n::b::c\r::d::")
    output.raw_line("::group::b")
    output.document(json.dumps({"name": "##[error]"}))
    lines = stream.getvalue().splitlines()
    assert lines[:4] == [": :error::a", ": :b::c", ": :d::", "::group::b"]
    assert "##[" not in lines[4]
    assert json.loads(lines[4]) == {"name": "##[error]"}


@pytest.mark.parametrize("runner", ["true", "false", ""])
def test_guarded_by_itself_where_a_runner_reads(
    monkeypatch: pytest.MonkeyPatch, runner: str
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", runner)
    stream = io.StringIO()
    Output(stream).line("##[error]a")
    assert stream.getvalue().startswith("##[") == (runner != "true")


def test_what_a_command_found_is_one_document_or_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show({"schema": 1, "name": "\udcff"}, iter(["a\x1b[2J"]), json_output=True)
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "name": "\udcff"}
    show({}, iter(["a\x1b[2J", "b"]), json_output=False)
    assert capsys.readouterr().out == "a\\x1b[2J\nb\n"

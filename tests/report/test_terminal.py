"""The bar of a long compilation, on a terminal and elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from warmup.report import terminal
from warmup.report.output import Output
from warmup.report.terminal import CountBar

DRIVER = """
import sys
from warmup.report.output import Output
from warmup.report.terminal import CountBar
with CountBar("kernels [red]", Output(sys.stderr)) as bar:
    for done in (0, 1, 2, 3):
        bar.advance(done, 3)
        bar.tick()
print("rich" in sys.modules)
"""


def run(stderr: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "TERM": "xterm", "COLUMNS": "100"},
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    return done.stdout + (done.stderr or "")


def test_elsewhere_there_is_one_line_at_the_end_and_no_rich() -> None:
    text = run(subprocess.PIPE)
    assert text.startswith("False\nkernels [red]: 3 of 3, ")
    assert text.count("\n") == 2


def test_a_terminal_has_a_bar_that_is_taken_away() -> None:
    ours, theirs = os.openpty()
    assert run(theirs) == "True\n"
    os.close(theirs)
    received = b""
    with contextlib.suppress(OSError):  # EIO: nobody holds the other end any more
        while True:
            received += os.read(ours, 65536)
    os.close(ours)
    shown = received.decode()
    assert "kernels [red]" in shown, "a name is text, not markup"
    assert "3/3" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is shown again"


def test_a_log_gets_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "HEARTBEAT_S", 0.0)
    stream = io.StringIO()
    with CountBar("kernels", Output(stream)) as bar:
        bar.tick()
        bar.advance(1, 2)
        bar.tick()
    first, second = stream.getvalue().splitlines()
    assert first == "kernels: starting"
    assert second.startswith("kernels: 1 of 2, ")

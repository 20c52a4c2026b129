from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.report.helpers import Screen, emit_run, make_result

RESULTS = [
    make_result("XiaomiMiMo/MiMo-V2.5", tp=8, new_entries={"triton": 9, "deep_gemm": 41}),
    make_result("org/broken", state="failed", reason="the server exited with status 3"),
    make_result("org/kept", state="warm", reason="marker of 2026-11-20"),
]

VERDICTS = [
    "MiMo-V2.5:8 ...... warmed 41.2 s (+41 deep_gemm, +9 triton)",
    "broken:1 ......... failed 41.2 s: the server exited with status 3",
    "kept:1 ........... warm (marker of 2026-11-20)",
]


def test_verdicts_are_stdouts_and_all_else_is_stderrs() -> None:
    screen = Screen()
    emit_run(screen.events, RESULTS, tail=["one", "two"])

    assert screen.out == VERDICTS
    assert screen.err[0] == "run r1: 3 models"
    assert "MiMo-V2.5:8 starting command, 1 of 3 (cold)" in screen.err
    assert "MiMo-V2.5:8 waiting for ready 120 s, last line: Loading 50%" in screen.err
    assert "MiMo-V2.5:8 ready done 1.5 s" in screen.err
    at = screen.err.index("MiMo-V2.5:8 log (last 2 lines): /runs/r1/toy.log")
    assert screen.err[at + 1 : at + 3] == ["  | one", "  | two"]
    assert screen.err[-1] == "3 models: 1 warm, 1 warmed, 1 failed in 100.0 s"


def test_json_leaves_stdout_alone() -> None:
    screen = Screen(json=True)
    emit_run(screen.events, RESULTS)
    assert screen.out == []
    assert [line for line in screen.err if line in VERDICTS] == VERDICTS


def test_foreign_text_cannot_move_the_cursor_or_forge_a_line() -> None:
    screen = Screen()
    bad = make_result("m\n\x1b[2Jx", state="failed", reason="a\rb\x1b]0;t\x07")
    emit_run(screen.events, [bad], tail=["\x1b[31mred", "a\rb"])
    screen.events.emit("warning", text="odd\nend")

    text = "\n".join(screen.out + screen.err)
    assert text.replace("\n", "").isprintable()
    assert len(screen.out) == 1
    assert "warning: odd\\nend" in screen.err


def test_a_kind_of_a_later_version_is_no_ones_business() -> None:
    screen = Screen()
    screen.events.emit("eclipse", "a:1", depth=3)
    assert screen.err == []


DRIVER = """
import os, sys
from tests.report.helpers import emit_launch, make_result
from warmup.report.console import Console
from warmup.report.events import Events
from warmup.report.output import Output
events = Events()
console = Console(Output(sys.stdout), Output(sys.stderr), environ=os.environ)
events.subscribe(console)
result = make_result("org/[red]toy")
events.emit("run_started", run_id="r1", models=[result.name])
emit_launch(events, result, 1, 1, ["tail"])
events.finish(result)
events.emit("run_finished", exit_code=0, seconds=1.0)
console.close()
print("rich" in sys.modules)
"""


def run_on_terminal(columns: int, *, driver: str = DRIVER, **environ: str) -> str:
    """What a terminal that wide receives from both streams of a run."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    child = subprocess.Popen(
        [sys.executable, "-c", driver],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=env | {"PYTHONPATH": str(Path.cwd())} | environ,
    )
    os.close(theirs)
    received, deadline = b"", time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 1.0)[0]:
                received += os.read(ours, 65536)
    except OSError:  # EIO: the other end is closed
        pass
    finally:
        os.close(ours)
        if child.poll() is None and time.monotonic() >= deadline:
            child.kill()
    assert child.wait(timeout=10) == 0
    return received.decode()


def test_a_terminal_has_a_moving_line_and_color() -> None:
    text = run_on_terminal(100, TERM="xterm-256color")
    moving = text[: text.index("waiting for ready")].rpartition("\n")[2]
    assert "[red]toy:1" in moving  # a name is no markup
    assert "\x1b[1A\x1b[2K" in text  # the line is cleared when it stops
    assert "\x1b[?25l" in text  # the cursor is hidden ...
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # ... and shown again
    assert "[red]toy:1 ...... \x1b[32mwarmed\x1b[0m 41.2 s" in text
    assert "ready done" not in text


def test_no_color_is_respected() -> None:
    text = run_on_terminal(100, TERM="xterm-256color", NO_COLOR="1")
    assert "waiting for ready" in text
    assert "\x1b[3" not in text
    assert "[red]toy:1 ...... warmed 41.2 s" in text


@pytest.mark.parametrize("columns", [1, 20])
def test_a_narrow_terminal_copes(columns: int) -> None:
    text = run_on_terminal(columns, TERM="xterm-256color", NO_COLOR="1")
    assert "warmed 41.2 s" in text


def test_a_dumb_terminal_gets_plain_lines_and_no_rich() -> None:
    text = run_on_terminal(100, TERM="dumb")
    assert "\x1b" not in text
    assert "toy:1 waiting for ready 120 s, last line: Loading 50%" in text
    assert text.endswith("False\r\n")


AT_ONCE = """
import os, sys
from tests.report.helpers import make_result
from warmup.report.console import Console
from warmup.report.events import Events
from warmup.report.output import Output
events = Events()
console = Console(Output(sys.stdout), Output(sys.stderr), environ=os.environ)
events.subscribe(console)
one, two = make_result("org/one"), make_result("org/two")
events.emit("run_started", run_id="r1", models=[one.name, two.name], jobs="auto")
for each in (one, two):
    events.emit("phase", each.name, phase="ready", state="started")
events.emit("heartbeat", one.name, phase="ready", seconds=31.0, last_line="shard 3")
events.finish(two)
events.emit("phase", one.name, phase="request", state="started")
events.finish(one)
events.emit("run_finished", exit_code=0, seconds=1.0)
console.close()
"""


def test_models_warmed_at_once_have_a_moving_line_each() -> None:
    text = run_on_terminal(120, driver=AT_ONCE, TERM="xterm-256color")
    before, _, after = text.partition("two:1 ...... ")
    assert "one:1" in before and "two:1" in before and "shard 3" in before
    assert "\x1b[1A\x1b[2K" in before, "both lines are taken away before a verdict is written"
    moving = after[: after.index("one:1 ...... ")]
    assert "one:1" in moving and "two:1" not in moving
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")

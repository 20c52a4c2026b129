"""Streams that are closed, full, or read by nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.program import get_env, write_workflow

PROGRAM = f"{sys.executable} -m warmup"


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**get_env(folder), "PYTHONUNBUFFERED": ""},  # unbuffered, nothing is left for the exit
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", ["plan --workflow workflow.toml", "key --json", "reap", "gc"])
def test_what_a_command_found_is_not_lost_in_silence(tmp_path: Path, command: str) -> None:
    write_workflow(tmp_path)
    done = shell(tmp_path, f"{PROGRAM} {command} > /dev/full")
    assert done.returncode == 3
    assert done.stderr == "error: cannot write to stdout\n  cause: No space left on device\n"


def test_errors_never_reach_stdout(tmp_path: Path) -> None:
    """Not as lines: under --json they are the one document that was asked for."""
    done = shell(tmp_path, f"{PROGRAM} plan --workflow missing.toml 2>&-")
    assert (done.returncode, done.stdout) == (2, "")
    done = shell(tmp_path, f"{PROGRAM} plan --workflow missing.toml --json 2>&-")
    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (2, 2)


@pytest.mark.parametrize("command", ["plan --workflow workflow.toml --json", "key", "doctor"])
def test_a_reader_that_went_away_is_no_failure(tmp_path: Path, command: str) -> None:
    write_workflow(tmp_path)
    done = shell(tmp_path, f"{PROGRAM} {command} | head -c 0; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")


def test_observe_keeps_the_commands_status_and_stdout_whatever_becomes_of_stderr(
    tmp_path: Path,
) -> None:
    observe = f"{PROGRAM} observe -- sh -c 'echo out; exit 5'"
    closed = shell(tmp_path, f"{observe} 2>&-")
    assert (closed.returncode, closed.stdout) == (5, "out\n")
    unread = shell(tmp_path, f"{{ {observe} >out; }} 2>&1 | head -c 0; exit ${{PIPESTATUS[0]}}")
    assert unread.returncode == 5


def test_observe_writes_through_links_and_into_pipes(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("target.json")
    os.mkfifo(tmp_path / "pipe")
    shell(tmp_path, f"{PROGRAM} observe --json link.json -- true")
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "target.json").read_text())["exit_code"] == 0
    done = shell(tmp_path, f"cat pipe & {PROGRAM} observe --json pipe -- true; wait")
    assert json.loads(done.stdout)["exit_code"] == 0

"""Hosts that lack something."""

import subprocess
import sys
from pathlib import Path

from tests.commands.program import get_env, write_workflow


def call_in_bash(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("PROGRAM", f"{sys.executable} -m warmup")
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=get_env(folder),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_server_is_warmed_where_processes_cannot_be_marked(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    done = call_in_bash(tmp_path, "ulimit -x 0; PROGRAM run --workflow workflow.toml")
    assert "warning: processes cannot be marked" in done.stderr
    assert "toy:1 ...... warmed" in done.stdout


def test_a_folder_that_was_removed_under_us_is_an_error(tmp_path: Path) -> None:
    done = call_in_bash(tmp_path, "mkdir x && cd x && rmdir ../x && PROGRAM plan --models a")
    assert done.returncode == 3
    assert done.stderr.startswith("error: the current folder does not exist")

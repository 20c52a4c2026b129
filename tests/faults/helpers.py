"""A run in the background, and what its event log has said so far."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.commands.program import get_env

WITHIN_S = 30.0


def start_run(folder: Path, *args: str, **env: str) -> subprocess.Popen[str]:
    """`warmup-ci run --workflow workflow.toml ARGS` in `folder`, not waited for."""
    return subprocess.Popen(
        [sys.executable, "-m", "warmup", "run", "--workflow", "workflow.toml", *args],
        cwd=folder,
        env=get_env(folder, **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def list_events(folder: Path) -> list[dict[str, Any]]:
    """Events of every run so far, in order; a line that is being written is left out."""
    found = []
    for path in sorted(folder.glob("home/runs/*/events.jsonl")):
        *lines, _ = path.read_text().split("\n")
        found += [json.loads(line) for line in lines]
    return found


def wait_for_phase(folder: Path, phase: str, state: str = "started") -> None:
    deadline = time.monotonic() + WITHIN_S
    while not any(
        event["kind"] == "phase"
        and (event["data"]["phase"], event["data"]["state"]) == (phase, state)
        for event in list_events(folder)
    ):
        assert time.monotonic() < deadline, f"phase {phase} was not {state}"
        time.sleep(0.01)

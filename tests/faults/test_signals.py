"""Signals at moments at which nothing waits for them."""

import json
import signal
import time
from pathlib import Path

from tests.commands.program import write_workflow
from tests.faults.helpers import WITHIN_S, start_run, wait_for_phase


def test_a_signal_while_the_last_server_stops_is_in_the_exit_status(tmp_path: Path) -> None:
    write_workflow(tmp_path, "--ignore-term")
    program = start_run(tmp_path, "--json", "--stop-grace-s", "60")
    wait_for_phase(tmp_path, "stop")
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=WITHIN_S)
    document = json.loads(out)
    assert program.returncode == document["exit_code"] == 130, err
    assert [model["state"] for model in document["models"]] == ["warmed"]


def test_a_signal_before_anything_is_supervised_is_told(tmp_path: Path) -> None:
    """The interpreter of the engine's environment is asked first, here one that hangs."""
    write_workflow(tmp_path)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\ntouch ${0%/*}/asked; exec sleep 60\n")
    python.chmod(0o755)
    program = start_run(tmp_path, "--python", str(python))
    deadline = time.monotonic() + WITHIN_S
    while not (tmp_path / "asked").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=WITHIN_S)
    assert (program.returncode, err.strip()) == (130, "error: cancelled by SIGINT")

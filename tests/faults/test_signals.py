"""Signals at moments at which nothing waits for them."""

import json
import signal
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

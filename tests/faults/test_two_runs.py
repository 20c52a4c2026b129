"""Two runs on one home (design.md, section 5)."""

from pathlib import Path

import pytest

from tests.commands.program import get_env, write_workflow
from tests.faults.helpers import list_events
from warmup.commands.run import run
from warmup.commands.session import Session
from warmup.state.locks import hold_launch_lock
from warmup.workflow.selection import Selection


def test_waiting_for_another_run_is_told_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warmup.supervise.phases.HEARTBEAT_S", 0.05)
    selection = Selection(workflow=write_workflow(tmp_path), deadline_s=1)
    environ = get_env(tmp_path)
    session = Session(selection=selection, environ=environ, folder=tmp_path)
    home = session.home
    home.ensure()
    (launch,) = session.launches
    with hold_launch_lock(home, launch.key):
        assert run(session, log_lines=30, max_log_bytes=1 << 20) == 1
    beats = [event for event in list_events(tmp_path) if event["kind"] == "heartbeat"]
    assert len(beats) >= 2
    assert {beat["data"]["phase"] for beat in beats} == {"lock"}

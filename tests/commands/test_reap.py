from __future__ import annotations

import json
import os
import resource
import subprocess
from pathlib import Path

import pytest

from tests.supervise.tree.test_reap import _COOKIE, write_run
from tests.supervise.trees import DEADLINE_S
from warmup.commands.reap import reap
from warmup.commands.session import Session
from warmup.supervise.tree import ledger
from warmup.words.errors import HostError


def get_session(home: Path) -> Session:
    return Session(environ={"WARMUP_CI_HOME": str(home)})


def spawn_worker() -> subprocess.Popen[bytes]:
    limits = (_COOKIE, resource.RLIM_INFINITY)
    return subprocess.Popen(
        ["sleep", "60"], preexec_fn=lambda: resource.setrlimit(10, limits), start_new_session=True
    )


def test_a_home_without_runs_is_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reap(get_session(tmp_path / "home")) == 0
    assert capsys.readouterr() == ("nothing was left behind\n", "")
    assert not (tmp_path / "home").exists()


def test_what_was_ended_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path)
    worker = spawn_worker()
    assert reap(get_session(tmp_path)) == 0
    worker.wait(DEADLINE_S)
    assert capsys.readouterr() == (f"ended pid {worker.pid} (sleep 60) of run r1\n", "")


def test_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path)
    worker = spawn_worker()
    assert reap(get_session(tmp_path), json_output=True) == 0
    worker.wait(DEADLINE_S)
    output = capsys.readouterr()
    assert json.loads(output.out) == {
        "schema": 1,
        "runs": [{"run_id": "r1", "state": "cleared", "detail": "", "survivors": []}],
        "ended": [{"pid": worker.pid, "command": "sleep 60", "run_id": "r1"}],
        "exit_code": 0,
    }
    assert output.err == ""


@pytest.mark.parametrize("json_output", [True, False])
def test_an_unreadable_ledger_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], json_output: bool
) -> None:
    (write_run(tmp_path) / ledger.LEDGER_NAME).write_text("{")
    assert reap(get_session(tmp_path), json_output=json_output) == 1
    output = capsys.readouterr()
    assert "unreadable ledger" in output.out
    assert output.err.startswith("warning: run r1: unreadable ledger")
    if json_output:
        assert json.loads(output.out)["exit_code"] == 1


def test_another_hosts_run_is_said_and_no_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, pid_namespace=os.getpid())
    assert reap(get_session(tmp_path)) == 0
    assert capsys.readouterr().out.startswith("run r1: elsewhere: of another PID namespace")


def test_a_home_that_others_may_write_is_not_reaped(tmp_path: Path) -> None:
    """A forged ledger made root end another home's live run (F8)."""
    write_run(tmp_path)
    worker = spawn_worker()
    (tmp_path / "runs").chmod(0o1777)
    with pytest.raises(HostError, match="not safe to use"):
        reap(get_session(tmp_path))
    assert worker.poll() is None
    worker.kill()
    worker.wait(DEADLINE_S)


def test_a_secret_of_a_command_line_is_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path)
    limits = (_COOKIE, resource.RLIM_INFINITY)
    worker = subprocess.Popen(
        ["sh", "-c", "sleep 60; true", "--api-key", "s3cr3t-value"],
        preexec_fn=lambda: resource.setrlimit(10, limits),
        start_new_session=True,
    )
    assert reap(get_session(tmp_path)) == 0
    worker.wait(DEADLINE_S)
    output = capsys.readouterr().out
    assert "--api-key ***" in output
    assert "s3cr3t-value" not in output

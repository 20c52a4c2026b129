"""What a boot owes after its server, also after one that failed (design.md, section 7)."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands.program import call, call_json, get_env, write_workflow
from tests.faults.helpers import list_events
from warmup.commands.run import run
from warmup.commands.session import Session
from warmup.supervise.gpu_memory import Gpu
from warmup.words.errors import WarmupError
from warmup.workflow.selection import Selection


def test_the_memory_of_a_server_that_failed_is_waited_for_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> float:
        raise WarmupError("GPU memory was not given back")

    gpu = Gpu(index=0, uuid="GPU-1", name="one", used_bytes=0, total_bytes=1)
    monkeypatch.setattr("warmup.supervise.boot.read_gpus", lambda: [gpu])
    monkeypatch.setattr("warmup.supervise.boot.wait_until_free", refuse)
    selection = Selection(workflow=write_workflow(tmp_path, "--answer", "500"))
    session = Session(selection=selection, environ=get_env(tmp_path), folder=tmp_path)
    assert run(session, log_lines=30, max_log_bytes=1 << 20) == 1
    events = {event["kind"]: event["data"] for event in list_events(tmp_path)}
    assert events["warning"]["text"] == "GPU memory was not given back"
    assert "HTTP 500" in events["model_finished"]["reason"]
    assert "memory" in events["model_finished"]["phases"]


def test_a_log_that_grows_while_its_server_stops_is_bounded(tmp_path: Path) -> None:
    write_workflow(tmp_path, "--flood-on-term", str(64 << 20))
    document = call_json(
        tmp_path, "run", "--workflow", "workflow.toml", "--max-log-bytes", str(1 << 20)
    )
    (model,) = document["models"]
    assert model["state"] == "warmed"
    status = Path(model["log"]).stat()
    assert status.st_size > 64 << 20
    assert status.st_blocks * 512 <= 2 << 20


def test_what_a_killed_server_had_printed_is_in_the_tail(tmp_path: Path) -> None:
    """Python buffers what it writes to a file, and a signal takes the buffer with it."""
    path = write_workflow(tmp_path)
    code = "import time; print('loading weights'); time.sleep(600)"
    command = json.dumps([sys.executable, "-c", code])
    lines = path.read_text().replace("start_timeout_s = 20", "start_timeout_s = 4").splitlines()
    lines = [f"command = {command}" if line.startswith("command") else line for line in lines]
    path.write_text("\n".join(lines))
    done = call(tmp_path, "run", "--workflow", "workflow.toml")
    assert done.returncode == 1
    assert "  | loading weights" in done.stderr

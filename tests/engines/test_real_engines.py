"""Real sglang 0.5.23 and vLLM 0.32.0 on a CPU, driven by `warmup-ci run`.

Opt-in: `make test-engines`, or `--sglang-python` and `--vllm-python` with such an interpreter.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.real import (
    ENGINES,
    TIMEOUT_S,
    RealEngine,
    find_descendant,
    finish,
    make_text,
    make_vision,
    run,
    start,
    write_workflow,
)

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)

CHUNK = 256
SHORT = ["first", "temperature", "top-p, top-k", "penalties", "stream"]


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.engines(name)) for name in sorted(ENGINES)]
)
def engine(request: pytest.FixtureRequest) -> RealEngine:
    return ENGINES[request.param]


@pytest.fixture
def python(request: pytest.FixtureRequest, engine: RealEngine) -> Path:
    found: Path = request.config.getoption(f"--{engine.name}-python")
    return found.absolute()


@pytest.fixture(autouse=True)
def short_tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What vLLM leaves there (`vllm_dist_*`) goes with the test."""
    with tempfile.TemporaryDirectory(prefix="we-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text(tmp_path_factory.mktemp("models") / "text")


def test_a_text_model_is_cold_then_warm_then_proven(
    tmp_path: Path, engine: RealEngine, python: Path, text_model: Path
) -> None:
    write_workflow(tmp_path, python, engine, text_model, engine.chunk, str(CHUNK))
    cold = run(tmp_path)
    assert cold["state"] == "warmed", cold["stderr"]
    steps = [*SHORT, f"prefill {CHUNK + 99}", "burst 16", "json schema"]
    assert [step["step"] for step in cold["steps"]] == steps
    assert {step["state"] for step in cold["steps"]} == {"answered"}
    warm = run(tmp_path)
    assert (warm["state"], warm["phases"]) == ("warm", {})
    proven = run(tmp_path, "--prove", "--ladder", "full")
    assert (proven["state"], proven["proven"]) == ("warmed", True), proven["stderr"]
    assert {step["state"] for step in proven["steps"]} == {"answered"}


def test_a_vision_language_model_is_shown_pictures(
    tmp_path: Path, engine: RealEngine, python: Path
) -> None:
    model = make_vision(tmp_path / "model")
    write_workflow(tmp_path, python, engine, model)
    cold = run(tmp_path)
    assert cold["state"] == "warmed", cold["stderr"]
    assert [step["step"] for step in cold["steps"]][-1] == "image 64"
    assert {step["state"] for step in cold["steps"]} == {"answered"}
    assert "/v1/chat/completions" in Path(cold["log"]).read_text()


def test_a_bad_argument_is_quoted(
    tmp_path: Path, engine: RealEngine, python: Path, text_model: Path
) -> None:
    write_workflow(tmp_path, python, engine, text_model, "--no-such-argument")
    failed = run(tmp_path)
    assert (failed["state"], failed["failed_phase"]) == ("failed", "ready")
    assert "unrecognized arguments: --no-such-argument" in failed["reason"]


def test_weights_that_were_cut_are_the_cause(
    tmp_path: Path, engine: RealEngine, python: Path, text_model: Path
) -> None:
    model = Path(shutil.copytree(text_model, tmp_path / "model"))
    weights = model / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    write_workflow(tmp_path, python, engine, model)
    failed = run(tmp_path)
    assert (failed["state"], failed["survivors"]) == ("failed", [])
    assert "SafetensorError" in failed["reason"], failed["stderr"]


def test_a_port_that_is_taken_is_the_cause(
    tmp_path: Path, engine: RealEngine, python: Path, text_model: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        write_workflow(tmp_path, python, engine, text_model, "--port", port)
        failed = run(tmp_path)
    assert (failed["state"], failed["failed_phase"]) == ("failed", "ready")
    assert "in use" in failed["reason"], failed["stderr"]


def test_a_worker_that_is_killed_while_it_starts_ends_the_wait(
    tmp_path: Path, engine: RealEngine, python: Path, text_model: Path
) -> None:
    write_workflow(tmp_path, python, engine, text_model)
    program = start(tmp_path)
    os.kill(wait_for(program.pid, engine.worker), signal.SIGKILL)
    failed = finish(program)
    assert (failed["state"], failed["failed_phase"], failed["survivors"]) == ("failed", "ready", [])
    assert "was killed by SIGKILL" in failed["reason"], failed["stderr"]


def test_nobody_survives_a_run_that_is_terminated(
    tmp_path: Path, engine: RealEngine, python: Path, text_model: Path
) -> None:
    """The session's own end looks for whoever wears the run's cookie (tests/conftest.py)."""
    write_workflow(tmp_path, python, engine, text_model)
    program = start(tmp_path)
    worker = wait_for(program.pid, engine.worker)
    program.send_signal(signal.SIGTERM)
    failed = finish(program)
    assert (program.returncode, failed["state"]) == (143, "failed")
    assert failed["survivors"] == []
    assert not Path(f"/proc/{worker}").exists()


def wait_for(pid: int, name: str) -> int:
    deadline = time.monotonic() + TIMEOUT_S
    while (found := find_descendant(pid, name)) is None:
        assert time.monotonic() < deadline, f"{name} did not start"
        time.sleep(0.05)
    return found

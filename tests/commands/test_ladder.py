"""The ladder under `run`: each step is timed, counted and named; none is left out in silence."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import program
from tests.commands.program import call, call_json, write_workflow
from tests.needs import require

# A tiny video took 118 s on two cores that five others computed on.
SLOW_S = 600.0


def make_requests(*paths: str) -> str:
    return f"requests = [{', '.join(make_request(path) for path in paths)}]\n"


def make_request(path: str) -> str:
    return f'{{ path = "{path}", json = {{}} }}'


def run_ladder(folder: Path, *paths: str, more: str = "", args: tuple[str, ...] = ()) -> Any:
    """The one model of `run --json` on a toy that is asked for these paths after its first."""
    write_workflow(folder, more=make_requests(*paths) + more)
    (model,) = call_json(folder, "run", "--workflow", "workflow.toml", *args)["models"]
    return model


def read_events(folder: Path, kind: str) -> list[Any]:
    (path,) = (folder / "home" / "runs").glob("*/events.jsonl")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    return [event["data"] for event in events if event["kind"] == kind]


def test_each_step_tells_its_time_and_what_it_compiled(tmp_path: Path) -> None:
    model = run_ladder(tmp_path, "/generate", "/compile/topk", "/compile/prefill")
    assert model["state"] == "warmed"
    assert [step["step"] for step in model["steps"]] == [
        *("first", "request 2", "request 3", "request 4")
    ]
    assert {step["state"] for step in model["steps"]} == {"answered"}
    counts = [step["new_entries"].get("triton", 0) for step in model["steps"]]
    assert sum(counts) == model["new_entries"]["triton"] == 3
    assert counts[0] == 1
    assert model["phases"]["ladder"] >= sum(step["seconds"] for step in model["steps"][1:]) - 0.01
    assert read_events(tmp_path, "step") == model["steps"]


def test_a_step_that_fails_is_named_and_fails_the_model(tmp_path: Path) -> None:
    model = run_ladder(tmp_path, "/compile/topk", "/fail", "/compile/later")
    assert (model["state"], model["failed_phase"], model["marker"]) == ("failed", "ladder", None)
    assert "ladder step 'request 3'" in model["reason"]
    assert "HTTP 500" in model["reason"]
    assert [step["state"] for step in model["steps"]] == ["answered", "answered", "failed"]


def test_a_step_that_is_not_answered_fails_when_the_time_is_over(tmp_path: Path) -> None:
    model = run_ladder(tmp_path, "/hang", args=("--request-timeout-s", "2"))
    assert model["state"] == "failed"
    assert "ladder step 'request 2'" in model["reason"]
    assert "no answer within" in model["reason"]


def test_steps_that_no_time_is_left_for_are_told_and_kept_in_the_marker(tmp_path: Path) -> None:
    """The first answer takes most of the time, and the second is cut: it is not to blame."""
    write_workflow(tmp_path, "--answer-after", "3", more=make_requests("/compile/a", "/compile/b"))
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--request-timeout-s", "5")
    assert done.returncode == 0, done.stderr
    assert "ladder request 2 left out: the time for requests is over" in done.stderr
    assert not (tmp_path / "triton" / "HASHA").exists()
    (marker,) = (tmp_path / "home" / "markers").iterdir()
    assert json.loads(marker.read_text())["skipped_steps"] == ["request 2", "request 3"]


def test_a_slow_first_answer_keeps_no_quick_step_out(tmp_path: Path) -> None:
    """It compiles where it is cold, for minutes; what comes after it need not."""
    write_workflow(tmp_path, "--first-after", "6", more=make_requests("/compile/a", "/compile/b"))
    args = ("run", "--workflow", "workflow.toml", "--request-timeout-s", "10")
    (model,) = call_json(tmp_path, *args)["models"]
    assert [step["state"] for step in model["steps"]] == ["answered"] * 3, model["reason"]


def test_a_marker_counts_for_the_requests_it_was_made_with(tmp_path: Path) -> None:
    run_ladder(tmp_path, "/compile/a")
    assert run_ladder(tmp_path, "/compile/a")["state"] == "warm"
    model = run_ladder(tmp_path, "/compile/b")
    assert model["state"] == "warmed"
    assert "warmed with ladder own:" in model["reason"]
    (marker,) = (tmp_path / "home" / "markers").iterdir()
    assert run_ladder(tmp_path, "/compile/c", args=("--ladder", "off"))["state"] == "warm"
    assert marker.is_file(), "the launch key is that of the launch, whatever is asked of it"


def test_the_proof_climbs_too(tmp_path: Path) -> None:
    """What compiles anew at a later step would have been missed by one request."""
    write_workflow(tmp_path, more=make_requests("/compile/a"))
    model = run_ladder(tmp_path, "/compile/a", args=("--prove",))
    assert model["proven"]
    names = [step["step"] for step in model["steps"]]
    assert names == ["first", "request 2", "prove_first", "prove_request 2"]
    assert {"ladder", "prove_ladder"} <= set(model["phases"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('ladder = "tall"', "model[0].ladder: expected one of off, short, full, got 'tall'"),
        ("requests = [{ json = {} }]", "model[0].requests[0]: missing key `path`"),
        ('requests = [{ path = "x" }]', "model[0].requests[0].path: expected a path"),
        ('requests = [{ path = "/", boddy = 1 }]', "model[0].requests[0].boddy: unknown key"),
    ],
)
def test_what_is_no_ladder_is_refused(tmp_path: Path, text: str, said: str) -> None:
    write_workflow(tmp_path, more=text)
    done = call(tmp_path, "run", "--workflow", "workflow.toml")
    assert done.returncode == 2
    assert said in done.stderr


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("python:transformers")
    folder = tmp_path_factory.mktemp("tiny") / "text"
    command = [sys.executable, "-m", "warmup.engine.tiny.text", str(folder)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    return folder


def test_transformers_serve_climbs_its_ladder(tmp_path: Path, tiny_model: Path) -> None:
    args = ("run", "--engine", "transformers", "--models", str(tiny_model))
    (cold,) = call_json(tmp_path, *args, HF_HUB_OFFLINE="1")["models"]
    assert cold["state"] == "warmed", cold["reason"]
    assert [step["step"] for step in cold["steps"]] == ["first", "long prompt, sampled, streamed"]
    assert {step["state"] for step in cold["steps"]} == {"answered"}
    (warm,) = call_json(tmp_path, *args)["models"]
    assert (warm["state"], warm["phases"]) == ("warm", {})


@pytest.mark.slow
@pytest.mark.timeout(2 * SLOW_S)
def test_transformers_serve_is_proven_with_its_ladder(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "TIMEOUT_S", SLOW_S)
    args = ("run", "--engine", "transformers", "--models", str(tiny_model), "--prove")
    (cold,) = call_json(tmp_path, *args, HF_HUB_OFFLINE="1")["models"]
    assert (cold["state"], cold["proven"]) == ("warmed", True), cold["reason"]
    (warm,) = call_json(tmp_path, *args)["models"]
    assert (warm["state"], warm["phases"]) == ("warm", {})


@pytest.mark.slow
@pytest.mark.timeout(2 * SLOW_S)
@pytest.mark.parametrize(
    ("family", "steps"),
    [
        (
            "qwen2_5_vl",
            ["first", "sampled, streamed", "long prompt", "burst 4", "image 64, sampled"],
        ),
        ("sd3", ["first", "256x256, 2 steps"]),
        ("wan_i2v", ["first", "128x128, 2 steps"]),
    ],
)
def test_the_reference_engine_climbs_its_ladder(
    tmp_path: Path, family: str, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "TIMEOUT_S", SLOW_S)
    require("python:diffusers")
    module = importlib.import_module(f"warmup.engine.tiny.{family}")
    module.make(tmp_path / "model")
    args = ("run", "--models", "./model")
    (cold,) = call_json(tmp_path, *args)["models"]
    assert cold["state"] == "warmed", cold["reason"]
    assert [step["step"] for step in cold["steps"]] == steps
    assert {step["state"] for step in cold["steps"]} == {"answered"}
    (warm,) = call_json(tmp_path, *args)["models"]
    assert warm["state"] == "warm"

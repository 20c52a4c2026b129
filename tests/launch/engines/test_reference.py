from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.launch.helpers import (
    get_request,
    judge,
    make_allocation,
    make_folder,
    make_launch,
    make_pipeline,
    make_qwen_vl,
)
from warmup.engine.diffusion.spec import _FAMILIES
from warmup.engine.flags import parse
from warmup.engine.vlm.families import FAMILIES
from warmup.launch.engine_table import get_engine
from warmup.launch.reference_models import ARCHITECTURES, PIPELINES
from warmup.launch.requests import make_image_url
from warmup.words import program
from warmup.words.errors import UsageError

ENGINE = get_engine("reference")
PNG = make_image_url().partition(",")[2]


def test_argv_of_a_diffusion_folder(tmp_path: Path) -> None:
    folder = str(make_pipeline(tmp_path / "sd3", "StableDiffusion3Pipeline"))
    launch = make_launch("reference", folder, tp=2, python="/py", fallback_args=["--fp8"])
    assert ENGINE.get_argv(launch, make_allocation()) == [
        *("/py", "-m", "warmup.engine.serve", "--model", folder, "--port", "21000"),
        *("--num-gpus", "2", "--fp8"),
    ]


@pytest.mark.parametrize("weights", ["real", "dummy"])
def test_the_engine_takes_these_flags(tmp_path: Path, weights: str) -> None:
    for folder, field in (
        (make_pipeline(tmp_path / "sd3", "StableDiffusion3Pipeline"), "num_gpus"),
        (make_qwen_vl(tmp_path / "vl"), "tp"),
    ):
        launch = make_launch(
            "reference", str(folder), tp=2, weights=weights, trust_remote_code=True
        )
        args, _ = parse(ENGINE.get_argv(launch, make_allocation())[3:])
        assert (args.model, args.port, getattr(args, field)) == (str(folder), 21000, 2)
        assert args.load_format == ("dummy" if weights == "dummy" else "auto")
        assert args.trust_remote_code


def test_the_models_are_those_of_the_engine() -> None:
    assert set(PIPELINES) == set(_FAMILIES)
    assert set(ARCHITECTURES) == set(FAMILIES)


def test_argv_of_a_vision_language_folder(tmp_path: Path) -> None:
    folder = str(make_qwen_vl(tmp_path / "vl"))
    launch = make_launch("reference", folder, tp=2, weights="dummy")
    argv = ENGINE.get_argv(launch, make_allocation())
    assert argv[-4:] == ["--tp", "2", "--load-format", "dummy"]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_each_pipeline_has_a_request_that_suits_its_task(tmp_path: Path, pipeline: str) -> None:
    launch = make_launch("reference", str(make_pipeline(tmp_path / "m", pipeline)))
    request = get_request(launch)
    paths = {
        "image": "/v1/images/generations",
        "edit": "/v1/images/edits",
        "video": "/v1/videos",
    }
    assert request.path == paths[PIPELINES[pipeline]]
    assert ("image" in request.json) == (request.path != "/v1/images/generations")
    good = json.dumps({"data": [{"b64_json": PNG}]}).encode()
    assert judge(launch, 200, good) is None
    assert judge(launch, 200, b'{"data": []}') is not None


def test_a_vision_language_request_carries_an_image(tmp_path: Path) -> None:
    launch = make_launch("reference", str(make_qwen_vl(tmp_path / "vl")))
    request = get_request(launch)
    assert request.path == "/v1/chat/completions"
    assert "data:image/png;base64," in json.dumps(request.json)
    good = b'{"choices": [{"message": {"content": "hi"}}]}'
    assert judge(launch, 200, good) is None


def test_what_it_cannot_serve_names_the_engines_that_might(tmp_path: Path) -> None:
    hub = ENGINE.find_problem(make_launch("reference", "deepseek-ai/DeepSeek-V3.2"))
    assert isinstance(hub, UsageError)
    assert "hub id" in hub.what
    assert "sglang, vllm, transformers" in str(hub.hint)
    missing = ENGINE.find_problem(make_launch("reference", str(tmp_path / "missing")))
    assert missing is not None
    assert "no such folder" in missing.what
    assert missing.hint == "give a local folder, or a hub id (org/name)"
    text = make_folder(tmp_path / "text", config={"architectures": ["LlamaForCausalLM"]})
    problem = ENGINE.find_problem(make_launch("reference", str(text)))
    assert problem is not None
    assert "LlamaForCausalLM" in problem.what
    assert "transformers, sglang, vllm" in str(problem.hint)
    media = make_pipeline(tmp_path / "media", "BrandNewPipeline")
    problem = ENGINE.find_problem(make_launch("reference", str(media)))
    assert problem is not None
    assert "BrandNewPipeline" in problem.what
    assert "sglang-diffusion" in str(problem.hint)
    empty = ENGINE.find_problem(make_launch("reference", str(make_folder(tmp_path / "empty"))))
    assert empty is not None
    assert "neither model_index.json nor config.json" in empty.what


def test_a_checkout_is_importable_from_the_servers_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = make_launch("reference", str(make_qwen_vl(tmp_path / "vl")))
    home = program._HOME
    monkeypatch.setenv("PYTHONPATH", "/already")
    assert ENGINE.get_env(launch, make_allocation())["PYTHONPATH"] == f"{home}{os.pathsep}/already"
    monkeypatch.setattr(program, "_HOME", Path("/env/lib/python3.12/site-packages"))
    assert "PYTHONPATH" not in ENGINE.get_env(launch, make_allocation())

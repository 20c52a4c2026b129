from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.launch.helpers import (
    get_request,
    judge,
    make_allocation,
    make_folder,
    make_launch,
    make_vision_folder,
)
from warmup.launch.engine_table import get_engine

ENGINE = get_engine("vllm")


def test_argv() -> None:
    launch = make_launch("vllm", tp=4, python="/py", revision="abc", weights="dummy")
    assert ENGINE.get_argv(launch, make_allocation()) == [
        *("/py", "-m", "vllm.entrypoints.cli.main", "serve", "org/model"),
        *("--host", "127.0.0.1", "--port", "21000", "--tensor-parallel-size", "4"),
        *("--revision", "abc", "--load-format", "dummy"),
    ]


def test_the_request_names_the_model_as_it_is_served() -> None:
    assert get_request(make_launch("vllm")).json["model"] == "org/model"
    renamed = make_launch("vllm", fallback_args=["--served-model-name", "a", "b"])
    assert get_request(renamed).json["model"] == "a"


@pytest.mark.parametrize(
    ("args", "has_image"),
    [
        ([], True),
        (["--limit-mm-per-prompt", '{"image": 2}'], True),
        (["--limit-mm-per-prompt", '{"video": 1, "image": 0}'], False),
        (["--limit_mm_per_prompt=image=0"], False),
        (["--language-model-only"], False),
    ],
)
def test_a_vision_language_model_is_shown_a_picture(
    tmp_path: Path, args: list[str], has_image: bool
) -> None:
    args = [*args, "--served-model-name", "short"]
    folder = make_vision_folder(tmp_path / "vl")
    launch = make_launch("vllm", str(folder), fallback_args=args)
    request = get_request(launch)
    assert request.path == ("/v1/chat/completions" if has_image else "/v1/completions")
    assert ("data:image/png;base64," in json.dumps(request.json)) == has_image
    assert request.json["model"] == "short"
    assert judge(launch, 200, b'{"choices": [{"message": {"content": "grey"}}]}') is None
    assert judge(launch, 200, b'{"choices": []}') is not None


def test_mistrals_own_format_is_a_model(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mistral", params={"dim": 1})
    assert ENGINE.find_problem(make_launch("vllm", str(folder))) is None


def test_the_answer_is_a_completion() -> None:
    launch = make_launch("vllm")
    assert judge(launch, 200, b'{"choices": [{"text": "hi"}]}') is None
    empty = b'{"choices": [{"text": ""}], "usage": {"completion_tokens": 8}}'
    assert judge(launch, 200, empty) is not None
    assert judge(make_launch("vllm", weights="dummy"), 200, empty) is None


def test_a_dead_engine_core_shows_in_the_log() -> None:
    for line in (
        "(EngineCore_DP0 pid=12) ERROR EngineCore failed to start.",
        "RuntimeError: Engine core initialization failed. See root cause above.",
        "ERROR 01-01 00:00:00 [core.py:1586] EngineCore encountered a fatal error.",
    ):
        assert any(pattern in line for pattern in ENGINE.crash_patterns)

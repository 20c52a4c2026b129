from __future__ import annotations

from pathlib import Path

from tests.launch.helpers import make_folder, make_launch, make_slots
from warmup.launch.engine_table import get_engine

ENGINE = get_engine("vllm")


def test_argv() -> None:
    launch = make_launch("vllm", tp=4, python="/py", revision="abc", weights="dummy")
    assert ENGINE.get_argv(launch, make_slots()) == [
        *("/py", "-m", "vllm.entrypoints.cli.main", "serve", "org/model"),
        *("--host", "127.0.0.1", "--port", "21000", "--tensor-parallel-size", "4"),
        *("--revision", "abc", "--load-format", "dummy"),
    ]


def test_the_request_names_the_model_as_it_is_served() -> None:
    assert ENGINE.get_request(make_launch("vllm")).json["model"] == "org/model"
    renamed = make_launch("vllm", fallback_args=["--served-model-name", "a", "b"])
    assert ENGINE.get_request(renamed).json["model"] == "a"


def test_mistrals_own_format_is_a_model(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mistral", params={"dim": 1})
    assert ENGINE.find_problem(make_launch("vllm", str(folder))) is None


def test_the_answer_is_a_completion() -> None:
    launch = make_launch("vllm")
    assert ENGINE.find_fault(launch, 200, b'{"choices": [{"text": "hi"}]}') is None
    empty = b'{"choices": [{"text": ""}], "usage": {"completion_tokens": 8}}'
    assert ENGINE.find_fault(launch, 200, empty) is not None
    assert ENGINE.find_fault(make_launch("vllm", weights="dummy"), 200, empty) is None


def test_a_dead_engine_core_shows_in_the_log() -> None:
    for line in (
        "(EngineCore_DP0 pid=12) ERROR EngineCore failed to start.",
        "RuntimeError: Engine core initialization failed. See root cause above.",
        "ERROR 01-01 00:00:00 [core.py:1586] EngineCore encountered a fatal error.",
    ):
        assert any(pattern in line for pattern in ENGINE.crash_patterns)

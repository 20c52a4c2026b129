"""What all engines share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launch.helpers import (
    get_request,
    judge,
    make_allocation,
    make_folder,
    make_launch,
    make_qwen_vl,
)
from warmup.launch.engine_table import get_engine
from warmup.launch.launch import Launch, RequestSpec
from warmup.words.errors import UsageError
from warmup.words.names import ENGINE_NAMES


@pytest.fixture(params=ENGINE_NAMES)
def launch(request: pytest.FixtureRequest, tmp_path: Path) -> Launch:
    """A launch that each engine accepts."""
    engine: str = request.param
    model = str(make_qwen_vl(tmp_path / "m")) if engine == "reference" else "org/model"
    command = ["server", "--port", "{port}"] if engine == "command" else []
    return make_launch(
        engine,
        model,
        tp=2,
        command=command,
        fallback_args=["--extra", "{tp}", '{"a": {"b": 1}}'],
        env={"A": "{run_dir}/a", "CUDA_VISIBLE_DEVICES": "7"},
    )


def test_a_fit_launch_has_no_problem(launch: Launch) -> None:
    assert get_engine(launch.engine).find_problem(launch) is None


def test_fallback_arguments_come_last_with_their_placeholders_filled(launch: Launch) -> None:
    engine = get_engine(launch.engine)
    argv = engine.get_argv(launch, make_allocation(num_extra_ports=engine.num_extra_ports))
    assert argv[-3:] == ["--extra", "2", '{"a": {"b": 1}}']
    assert "21000" in argv[:-3]


def test_the_launchs_environment_wins(launch: Launch) -> None:
    env = get_engine(launch.engine).get_env(launch, make_allocation("/run", gpus="0,1"))
    assert env["A"] == "/run/a"
    assert env["CUDA_VISIBLE_DEVICES"] == "7"


def test_gpus_are_named_only_where_there_are_some(launch: Launch) -> None:
    engine = get_engine(launch.engine)
    bare = make_launch(launch.engine, launch.model, command=list(launch.command))
    assert engine.get_env(bare, make_allocation(gpus="0,1"))["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "CUDA_VISIBLE_DEVICES" not in engine.get_env(bare, make_allocation())


def test_a_workflows_health_path_and_request_win(launch: Launch) -> None:
    engine = get_engine(launch.engine)
    request = RequestSpec(path="/own", expect_status=201, expect_text="yes")
    said = make_launch(
        launch.engine,
        launch.model,
        command=list(launch.command),
        health_path="/up",
        request=request,
    )
    assert engine.get_health_path(said) == "/up"
    assert get_request(said) == request
    assert judge(said, 201, b"oh yes") is None
    assert "HTTP 200, expected 201" in str(judge(said, 200, b"yes"))
    assert "lacks 'yes'" in str(judge(said, 201, b"no"))


def test_no_engine_takes_an_error_for_an_answer(launch: Launch) -> None:
    assert "HTTP 500" in str(judge(launch, 500, b"Internal Server Error"))
    if launch.engine != "command":
        assert judge(launch, 200, b'{"error": {"message": "died"}}') is not None
        assert judge(launch, 200, b"{}") is not None


@pytest.mark.parametrize(
    "settings",
    [{"tp": 0}, {"fallback_args": ["{prot}"]}, {"env": {"A": "{x}"}}],
    ids=["tp", "args", "env"],
)
def test_general_problems(launch: Launch, settings: dict[str, object]) -> None:
    bad = make_launch(launch.engine, launch.model, **{"command": list(launch.command), **settings})
    assert isinstance(get_engine(launch.engine).find_problem(bad), UsageError)


def test_a_command_belongs_to_engine_command() -> None:
    problem = get_engine("vllm").find_problem(make_launch("vllm", command=["x"]))
    assert problem is not None
    assert "`command` is for engine command" in problem.what


@pytest.mark.parametrize("name", [name for name in ENGINE_NAMES if name != "command"])
@pytest.mark.parametrize("model", ["/nowhere", "./nowhere", "../nowhere", "~/nowhere", "a b"])
def test_a_model_that_is_not_there(name: str, model: str) -> None:
    problem = get_engine(name).find_problem(make_launch(name, model))
    assert isinstance(problem, UsageError)
    assert problem.what.startswith(model)


@pytest.mark.parametrize("name", ["transformers", "sglang", "vllm"])
def test_a_folder_without_a_config(name: str, tmp_path: Path) -> None:
    empty = make_folder(tmp_path / "empty")
    problem = get_engine(name).find_problem(make_launch(name, str(empty)))
    assert problem is not None
    assert "config.json" in problem.what
    media = make_folder(tmp_path / "media", model_index={"_class_name": "P"})
    problem = get_engine(name).find_problem(make_launch(name, str(media)))
    assert problem is not None
    assert "sglang-diffusion" in str(problem.hint)
    (empty / "config.json").write_text("{broken")
    broken = get_engine(name).find_problem(make_launch(name, str(empty)))
    assert broken is not None
    assert "not valid JSON" in broken.what


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_remote_code_is_trusted_only_when_the_workflow_says_so(name: str, tmp_path: Path) -> None:
    engine = get_engine(name)
    model = str(make_qwen_vl(tmp_path / "m"))
    argv = engine.get_argv(make_launch(name, model, command=["x"]), make_allocation())
    assert "--trust-remote-code" not in argv
    trusting = make_launch(name, model, command=["x"], trust_remote_code=True)
    assert ("--trust-remote-code" in engine.get_argv(trusting, make_allocation())) == (
        name != "command"
    )

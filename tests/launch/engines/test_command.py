from __future__ import annotations

import pytest

from tests.launch.helpers import get_request, judge, make_allocation, make_launch
from warmup.launch.engine_table import get_engine
from warmup.launch.launch import RequestSpec
from warmup.words.errors import UsageError

ENGINE = get_engine("command")


def test_the_argv_is_the_workflows() -> None:
    launch = make_launch(
        "command",
        "toy",
        tp=2,
        command=["python3", "{workflow_dir}/toy.py", "--port", "{port}", "--model", "{model}"],
        fallback_args=["--tp={tp}"],
    )
    assert ENGINE.get_argv(launch, make_allocation()) == [
        "python3",
        "/flows/toy.py",
        "--port",
        "21000",
        "--model",
        "toy",
        "--tp=2",
    ]


@pytest.mark.parametrize("command", [[], [""]])
def test_a_command_is_needed(command: list[str]) -> None:
    problem = ENGINE.find_problem(make_launch("command", command=command))
    assert isinstance(problem, UsageError)
    assert "needs a `command`" in problem.what


def test_dummy_weights_mean_nothing_to_it() -> None:
    launch = make_launch("command", command=["x"], weights="dummy")
    assert isinstance(ENGINE.find_problem(launch), UsageError)


def test_any_model_name_will_do() -> None:
    assert ENGINE.find_problem(make_launch("command", "what ever/it/is", command=["x"])) is None


def test_without_a_request_the_health_path_is_asked() -> None:
    launch = make_launch("command", command=["x"], health_path="/ready")
    assert ENGINE.get_health_path(make_launch("command", command=["x"])) == "/health"
    assert get_request(launch) == RequestSpec(method="GET", path="/ready")
    assert judge(launch, 200, b"") is None
    assert judge(launch, 503, b"") is not None

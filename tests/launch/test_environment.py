from __future__ import annotations

import pytest

from tests.launch.helpers import make_allocation, make_launch
from warmup.launch.engine import get_server_env
from warmup.launch.engine_table import get_engine

ENGINE = get_engine("command")


def test_the_launch_wins_over_the_caller() -> None:
    launch = make_launch("command", command=["x"], env={"A": "{port}"})
    env = get_server_env(launch, ENGINE, make_allocation(), {"A": "0", "B": "1"})
    assert env == {"A": "21000", "B": "1", "PYTHONUNBUFFERED": "1"}


def test_whether_python_buffers_is_the_callers_and_the_launchs_to_say() -> None:
    launch = make_launch("command", command=["x"], env={"PYTHONUNBUFFERED": ""})
    assert get_server_env(launch, ENGINE, make_allocation(), {})["PYTHONUNBUFFERED"] == ""
    launch = make_launch("command", command=["x"])
    base = {"PYTHONUNBUFFERED": "2"}
    assert get_server_env(launch, ENGINE, make_allocation(), base)["PYTHONUNBUFFERED"] == "2"


@pytest.mark.parametrize("proxy", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_is_never_asked_for_the_loopback_address(proxy: str) -> None:
    base = {proxy: "http://proxy:3128", "NO_PROXY": ".corp"}
    env = get_server_env(make_launch("command", command=["x"]), ENGINE, make_allocation(), base)
    assert env["NO_PROXY"] == ".corp,127.0.0.1,localhost"
    # The lower-case one is what most clients look at first.
    assert env["no_proxy"] == ".corp,127.0.0.1,localhost"
    assert env[proxy] == "http://proxy:3128"


def test_a_launchs_own_no_proxy_wins() -> None:
    launch = make_launch("command", command=["x"], env={"NO_PROXY": "*"})
    env = get_server_env(launch, ENGINE, make_allocation(), {"http_proxy": "http://proxy:3128"})
    assert env["NO_PROXY"] == "*"

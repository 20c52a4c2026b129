from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.state.helpers import make_launch
from warmup.state.distributions import find_missing_engine


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real interpreter with nothing installed."""
    folder = tmp_path_factory.mktemp("bare")
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, check=True, timeout=120)
    return folder


def find(folder: Path, engine: str, distribution: str | None, *more: str, **launch: str) -> str:
    python = str(folder / "bin" / "python")
    made = make_launch(engine=engine, python=python, **launch)
    env = {"PATH": os.environ["PATH"]}
    problem = find_missing_engine(made, distribution, env, more)
    return "" if problem is None else problem.render()


def test_what_is_missing_is_named_with_the_interpreter_and_what_to_install(bare: Path) -> None:
    told = find(bare, "sglang", "sglang")
    assert "org/Name-1B:2: engine sglang is not installed" in told
    assert f"cause: {bare}/bin/python has no sglang" in told
    assert f"`{bare}/bin/python -m pip install 'sglang'`" in told
    assert "has no warmup, torch, transformers" in find(bare, "reference", "warmup-ci")
    assert "pip install 'warmup-ci[serve]'" in find(bare, "reference", "warmup-ci")


def test_where_no_server_is_started_none_is_missing(bare: Path) -> None:
    assert find(bare, "command", None) == ""
    assert find(bare, "sglang", "sglang", strategy="kernels") == ""


def test_a_checkout_and_an_editable_install_will_do(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").touch()
    assert find(bare, "vllm", "vllm", str(tmp_path)) == ""
    site = next((bare / "lib").glob("python*/site-packages"))
    info = site / "sglang-0.5.23.dist-info"
    info.mkdir()
    assert find(bare, "sglang-diffusion", "sglang") == ""
    info.rmdir()
    assert find(bare, "sglang-diffusion", "sglang") != ""

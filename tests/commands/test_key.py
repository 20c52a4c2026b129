from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.commands.hosts import make_session
from tests.state.helpers import make_home, make_launch, make_vector, warm
from warmup.commands.key import key
from warmup.state.forecast import read_baseline
from warmup.words.errors import HostError, UsageError

VECTOR = make_vector()
VARIABLES = {"TRITON_CACHE_DIR": "/c/it's $HOME", "DG_JIT_CACHE_DIR": "/c/deep_gemm"}


def run(
    tmp_path: Path,
    variables: dict[str, str] | None = None,
    env: dict[str, str] | None = None,
    **options: Any,
) -> int:
    session = make_session(make_home(tmp_path), VECTOR, variables=variables, env=env)
    return key(session, **options)


def test_every_ingredient_and_the_key_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [
        "triton       3.9.0",
        "nvcc         13.0.88",
        f"version_key  {VECTOR.key}",
    ]


def test_one_line_for_a_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, only_key=True)
    assert capsys.readouterr().out == f"{VECTOR.key}\n"


def test_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, json_output=True, variables=VARIABLES)
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1,
        "version_key": VECTOR.key,
        "ingredients": [
            {"name": "triton", "value": "3.9.0", "families": ["inductor", "triton", "vllm"]},
            {
                "name": "nvcc",
                "value": "13.0.88",
                "families": ["deep_gemm", "flashinfer", "tilelang", "torch_extensions", "tvm_ffi"],
            },
        ],
        "variables": VARIABLES,
    }


def test_a_shell_takes_the_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, export=True, variables=VARIABLES)
    lines = capsys.readouterr().out
    assert lines.endswith("export DG_JIT_CACHE_DIR='/c/deep_gemm'\n")
    script = lines + 'printf %s "$TRITON_CACHE_DIR|$DG_JIT_CACHE_DIR"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout == "|".join(VARIABLES.values())


def test_github_env_gets_what_the_runner_reads(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("EARLIER=1")
    run(tmp_path, github=True, variables=VARIABLES, env={"GITHUB_ENV": str(path)})
    found, lines = {}, iter(path.read_text().splitlines())
    assert next(lines) == "EARLIER=1"
    for line in lines:
        name, _, delimiter = line.partition("<<")
        found[name] = next(lines)
        assert next(lines) == delimiter
    assert found == VARIABLES


def test_without_a_cache_root_there_is_nothing_to_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, export=True) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "own default folder" in captured.err


def test_github_env_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="GITHUB_ENV"):
        run(tmp_path, github=True, variables=VARIABLES)
    with pytest.raises(HostError, match="GITHUB_ENV"):
        run(tmp_path, github=True, env={"GITHUB_ENV": str(tmp_path)})


def test_forms_that_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude"):
        run(tmp_path, json_output=True, only_key=True)


def test_a_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warm(make_home(tmp_path), make_launch(), VECTOR)
    path = tmp_path / "h200.json"
    run(tmp_path, only_key=True, write_baseline=path)
    assert read_baseline(path).models[0].seconds == 41.2
    captured = capsys.readouterr()
    assert captured.out == f"{VECTOR.key}\n"
    assert "baseline with 1 model:" in captured.err

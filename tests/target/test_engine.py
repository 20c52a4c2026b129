"""The reference engine on the null device: every family, each way to start it, until READY.

Opt-in: `make test-target`, or `--target-python` with an interpreter that has torch==2.14.1 (CUDA
13), triton, sgl-deep-gemm and the extra `serve`. Nothing here has seen a GPU: what is held is that
the real host code runs, that the real compilers compile, and under which keys.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.commands.program import ROOT, get_env
from tests.target.null_device import get_libraries
from warmup.target.environment import DRIVER_FOLDER, make_environment
from warmup.target.profile import parse_target

pytestmark = [pytest.mark.target, pytest.mark.timeout(900)]

DIFFUSION = ("sd3", "wan-i2v", "flux2", "qwen-image-edit")
LANGUAGE = ("qwen2.5-vl", "qwen2-vl")
# Of tests/gpu, what reads no result of a kernel; the others compare numbers.
READS_NO_RESULT = "what_was_compiled_from_the_config"
TIMEOUT_S = 600.0
CUDA_HOME = os.environ.get("CUDA_HOME", "/usr/local/cuda")


@cache
def get_model(python: Path, family: str) -> Path:
    """A tiny checkpoint, made once a session beside the libraries."""
    folder = get_libraries().parent / "models" / family
    folder.parent.mkdir(exist_ok=True)
    command = [str(python), "-m", "warmup", "serve", "--make-tiny", family, str(folder)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=env, check=True, timeout=300, stdout=subprocess.DEVNULL)
    return folder


WORKFLOW = """
schema = 1
[defaults]
engine = "reference"
python = "{python}"
start_timeout_s = 600
target = "{target}"
[[model]]
id = "{model}"
tp = {tp}
fallback_args = {args}
"""


def run(
    folder: Path, python: Path, family: str, *args: str, tp: int = 1, target: str = "h200x2"
) -> dict[str, Any]:
    """`warmup-ci run` of that family with these arguments; its model's part of the document."""
    text = WORKFLOW.format(
        python=python,
        target=target,
        model=get_model(python, family),
        tp=tp,
        args=json.dumps(args),
    )
    (folder / "workflow.toml").write_text(text)
    shutil.copytree(get_libraries(), folder / "home" / "target" / get_libraries().name)
    command = ("run", "--workflow", "workflow.toml", "--cache-root", str(folder / "caches"))
    document = call_slow(folder, *command)
    (model,) = document["models"]
    log = Path(model["log"]).read_text() if model["log"] else ""
    assert model["state"] == "seeded", f"{model['reason']}\n{log[-4000:]}"
    assert "degraded" not in log, log[-4000:]
    found: dict[str, Any] = model
    return found


def call_slow(folder: Path, *args: str) -> dict[str, Any]:
    """The document of `warmup-ci ARGS --json`, whose server compiles for minutes."""
    done = subprocess.run(
        [sys.executable, "-m", "warmup", *args, "--json"],
        cwd=folder,
        env=get_env(folder, CUDA_HOME=CUDA_HOME, TRITON_LIBCUDA_PATH=DRIVER_FOLDER),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def count(folder: Path, pattern: str) -> int:
    return len(list((folder / "caches").rglob(pattern)))


@pytest.mark.parametrize("family", DIFFUSION + LANGUAGE)
def test_bf16(tmp_path: Path, python: Path, family: str) -> None:
    model = run(tmp_path, python, family)
    assert model["new_entries"]["triton"] > 0
    assert count(tmp_path, "*.cubin") > 0


@pytest.mark.skipif(not Path(CUDA_HOME, "bin", "nvcc").exists(), reason="needs nvcc (CUDA_HOME)")
@pytest.mark.parametrize("family", DIFFUSION + LANGUAGE)
def test_fp8(tmp_path: Path, python: Path, family: str) -> None:
    model = run(tmp_path, python, family, "--fp8")
    assert count(tmp_path, "*.cubin") > 0
    assert "deep_gemm" in model["new_entries"] or "triton" in model["new_entries"]


def test_compiled_by_inductor(tmp_path: Path, python: Path) -> None:
    model = run(tmp_path, python, "sd3", "--torch-compile")
    assert model["new_entries"]["inductor"] > 0
    assert count(tmp_path, "*.best_config") == count(tmp_path, "*.autotune.json") == 0


def test_tensor_parallel(tmp_path: Path, python: Path) -> None:
    assert run(tmp_path, python, "qwen2.5-vl", tp=2)["new_entries"]["triton"] > 0


def test_guidance_parallel(tmp_path: Path, python: Path) -> None:
    model = run(tmp_path, python, "sd3", "--enable-cfg-parallel", tp=2)
    assert model["new_entries"]["triton"] > 0


def test_a_model_that_does_not_fit_is_out_of_memory_as_there(tmp_path: Path, python: Path) -> None:
    """The tiny model with a vocabulary that no H100 holds: its config alone is large."""
    folder = tmp_path / "large"
    shutil.copytree(get_model(python, "qwen2.5-vl"), folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for part in (config, config.get("text_config", {})):
        if "num_hidden_layers" in part:
            part["intermediate_size"] = 1 << 28
    path.write_text(json.dumps(config))
    shutil.copytree(get_libraries(), tmp_path / "home" / "target" / get_libraries().name)
    command = ("run", "--models", str(folder), "--python", str(python), "--target", "h100")
    document = call_slow(tmp_path, *command)
    (model,) = document["models"]
    assert document["exit_code"] == 1 and "out of memory" in model["reason"].lower(), model


def test_the_seed_of_dummy_weights_is_all_that_the_real_launch_needs(
    tmp_path: Path, python: Path
) -> None:
    """The null device again in the place of the GPU: what is shown is that checkpoint and dummy
    weights have the same keys, and that `run` finds the seed complete."""
    run(tmp_path, python, "qwen2.5-vl")
    target = parse_target("h200x2")
    base = get_env(tmp_path, CUDA_HOME=CUDA_HOME, TRITON_LIBCUDA_PATH=DRIVER_FOLDER)
    overlay = make_environment(target, base, tmp_path / "home" / "target", tmp_path)
    program = (
        "import pathlib; from warmup.state import gpus; "
        "gpus._DEVICE_FILES = (pathlib.Path('/dev/null'),); "
        "from warmup.cli import main; main()"
    )
    workflow = ("--workflow", "workflow.toml", "--cache-root", str(tmp_path / "caches"))
    command = [str(python), "-c", program, "run", *workflow, "--target", "", "--json"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**base, **overlay},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    (model,) = json.loads(done.stdout)["models"]
    assert (model["state"], model["seed_missed"]) == ("warmed", []), done.stderr
    assert model["proven"] and not any(model["new_entries"].values())


def test_what_needs_a_gpu_and_reads_no_result(tmp_path: Path, python: Path) -> None:
    """Among them: Triton kernels launched the ordinary way have the keys that
    `kernels compile --target` foretold."""
    base = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_HOME": CUDA_HOME}
    state = get_libraries().parent
    env = {**base, **make_environment(parse_target("h200x1"), base, state, tmp_path)}
    command = [str(python), "-m", "pytest", "tests/gpu/test_kernels.py", "--gpu", "-q"]
    command += ["-k", READS_NO_RESULT, "-p", "no:cacheprovider", "--timeout=400"]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "1 passed" in done.stdout

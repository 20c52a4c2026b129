"""The engine's kernels on a real GPU: right, and found where the CPU machine compiled them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.engine.kernels.check import LIMITS, Case, gemm_plain, get_cases, get_error
from warmup.engine.kernels import fp8

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("case", get_cases(wide=True), ids=lambda case: case.name)
def test_a_kernel_equals_its_plain_form(case: Case, dtype: torch.dtype, has_results: bool) -> None:
    error = get_error(*case.run(dtype, "cuda"))
    assert not has_results or error <= case.get_limit(dtype, "cuda")


@pytest.mark.parametrize("rows", [1, 7, 128, 1000])
@pytest.mark.parametrize(("n", "k"), [(2048, 2048), (11008, 2048), (576, 7168)])
def test_deep_gemm_computes_what_the_quantised_operands_say(
    rows: int, n: int, k: int, has_results: bool
) -> None:
    pytest.importorskip("deep_gemm")
    gemm = fp8.get_gemm(torch.device("cuda", torch.cuda.current_device()))
    x = torch.randn(rows, k, dtype=torch.bfloat16, device="cuda")
    linear = torch.nn.Linear(k, n, device="cuda", dtype=torch.bfloat16)
    converted = fp8.Fp8Linear(linear, gemm)
    with torch.no_grad():
        out = converted(x)
        weight = (converted.weight, converted.scales)
        exact = gemm_plain(fp8.quantise_rows(x), weight) + linear.bias.float()
        assert not has_results or get_error(out, exact) < 1e-2
        assert not has_results or get_error(out, linear(x)) < 0.06


# The compile worker's own handler, as `warmup-ci kernels compile --target` starts it.
COMPILE = """
import sys
from warmup.engine.kernels import aot

handle = aot.start([sys.argv[2]])
for launch in handle({"op": "list", "model": sys.argv[1], "tp": 1, "fp8": False}):
    handle({"op": "compile", **launch})
"""
CODE = """
import sys, torch
from warmup.engine.args import ServerArgs
from warmup.engine.ranks import Ranks
from warmup.engine.vlm.model import VisionLanguageModel

args = ServerArgs(model=sys.argv[1], max_batch=2)
model = VisionLanguageModel(args, Ranks(args, 0), 256)
ids = [257, *range(60, 90), 259, *[261] * 64, 260]
model.prefill(ids, torch.randn(256, 1176), [(1, 16, 16)])
model.prefill(range(60, 73), None, [])
model.decode([65, 66])
"""


def test_what_was_compiled_from_the_config_is_what_the_engine_looks_up(tmp_path: Path) -> None:
    """The engine adds nothing to a Triton cache that `kernels compile --target` has filled."""
    from warmup.engine.tiny import qwen2_5_vl

    qwen2_5_vl.make(tmp_path / "model")
    cache = tmp_path / "cache"
    env = {**os.environ, "TRITON_CACHE_DIR": str(cache)}
    major, minor = torch.cuda.get_device_capability()
    hidden = {**env, "CUDA_VISIBLE_DEVICES": ""}
    argv = [sys.executable, "-c", COMPILE, str(tmp_path / "model"), f"cuda:{10 * major + minor}"]
    subprocess.run(argv, env=hidden, timeout=170, check=True)
    before = {path.name for path in cache.rglob("*.cubin")}
    folders = {path.name for path in cache.iterdir() if list(path.glob("*.cubin"))}
    assert before
    code = [sys.executable, "-c", CODE, str(tmp_path / "model")]
    subprocess.run(code, env=env, timeout=170, check=True)
    assert {path.name for path in cache.rglob("*.cubin")} == before
    assert {path.name for path in cache.iterdir() if list(path.glob("*.cubin"))} == folders

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.kernels.models import write_model
from tests.kernels.test_deep_gemm import FAKES, H200, ROOT, make_cuda_home
from warmup.kernels.hook import Fallback, KernelPlan, compile_kernels, plan_kernels
from warmup.launch.launch import Launch
from warmup.words.errors import HostError


def make_launch(folder: Path, *args: str, tp: int = 1, engine: str = "sglang") -> Launch:
    path = write_model(folder / "model", "qwen3-8b-fp8")
    return Launch(
        model=str(path), label="./model", tp=tp, engine=engine, python=sys.executable,
        fallback_args=args,
    )  # fmt: skip


def test_a_known_launch_is_planned_and_compiled(tmp_path: Path) -> None:
    env = {
        **os.environ, "PYTHONPATH": f"{FAKES}:{ROOT}", "FAKE_GPUS": json.dumps([H200]),
        "FAKE_CALLS": str(tmp_path / "calls"), "CUDA_HOME": str(make_cuda_home(tmp_path)),
        "SGLANG_DG_CACHE_DIR": str(tmp_path / "cache"),
    }  # fmt: skip
    plan = plan_kernels(make_launch(tmp_path), env)
    assert isinstance(plan, KernelPlan)
    assert [shape.kind for shape in plan.shapes.shapes] == ["NORMAL"] * 4 + ["TRANSPOSE"] * 2
    result = compile_kernels(plan, run_dir=tmp_path, name="run", check=lambda: None)
    assert (result.failed, result.cache_dir) == ((), tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "cache").iterdir())) == result.num_kernels


@pytest.mark.parametrize(
    ("args", "tp", "engine", "told"),
    [
        (("--speculative-algorithm", "EAGLE"), 1, "sglang", "--speculative-algorithm"),
        ((), 7, "sglang", "num_attention_heads 32 does not divide by 7"),
        ((), 1, "transformers", "engine transformers"),
    ],
)
def test_what_is_not_known_is_left_to_the_server(
    tmp_path: Path, args: tuple[str, ...], tp: int, engine: str, told: str
) -> None:
    plan = plan_kernels(make_launch(tmp_path, *args, tp=tp, engine=engine), {})
    assert isinstance(plan, Fallback)
    assert told in plan.reason


def test_a_host_that_cannot_says_so(tmp_path: Path) -> None:
    plan = plan_kernels(make_launch(tmp_path), {**os.environ, "PYTHONPATH": str(tmp_path)})
    assert isinstance(plan, KernelPlan)
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    with pytest.raises(HostError) as caught:
        compile_kernels(plan, run_dir=tmp_path, name="run", check=lambda: None)
    assert caught.value.reason == "DeepGEMM cannot compile here: ImportError: no torch here"

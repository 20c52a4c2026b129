from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.kernels.models import write_model
from tests.kernels.test_deep_gemm import FAKES, H200, ROOT, make_cuda_home
from warmup.kernels.deep_gemm import Result, Setting, compile_shapes
from warmup.kernels.derive import ModelShapes, derive_or_leave, merge_asks
from warmup.launch.launch import Launch
from warmup.words.errors import HostError


def make_launch(folder: Path, *args: str, tp: int = 1, engine: str = "sglang") -> Launch:
    path = write_model(folder / "model", "qwen3-8b-fp8")
    return Launch(
        model=str(path), label="./model", tp=tp, engine=engine, python=sys.executable,
        fallback_args=args,
    )  # fmt: skip


def compile_directly(shapes: ModelShapes, folder: Path, env: Mapping[str, str]) -> Result:
    """As `run` does (warm.py)."""
    setting = Setting(engine="sglang", python=sys.executable, env=env, run_dir=folder, name="run")
    return compile_shapes(merge_asks([shapes]), setting)


def test_a_known_launch_is_planned_and_compiled(tmp_path: Path) -> None:
    env = {
        **os.environ, "PYTHONPATH": f"{FAKES}:{ROOT}", "FAKE_GPUS": json.dumps([H200]),
        "FAKE_CALLS": str(tmp_path / "calls"), "CUDA_HOME": str(make_cuda_home(tmp_path)),
        "SGLANG_DG_CACHE_DIR": str(tmp_path / "cache"),
    }  # fmt: skip
    shapes = derive_or_leave(make_launch(tmp_path), env)
    assert [shape.kind for shape in shapes.shapes] == ["NORMAL"] * 4 + ["TRANSPOSE"] * 2
    result = compile_directly(shapes, tmp_path, env)
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
    shapes = derive_or_leave(make_launch(tmp_path, *args, tp=tp, engine=engine), {})
    assert (shapes.strategy, shapes.shapes) == ("server", ())
    assert told in shapes.reason


def test_a_host_that_cannot_says_so(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    shapes = derive_or_leave(make_launch(tmp_path), env)
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    with pytest.raises(HostError) as caught:
        compile_directly(shapes, tmp_path, env)
    assert caught.value.reason == "DeepGEMM cannot compile here: ImportError: no torch here"

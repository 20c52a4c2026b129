from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from tests.kernels.models import write_model
from tests.kernels.test_deep_gemm import FAKES, H200, ROOT, make_cuda_home
from warmup.kernels.deep_gemm import Setting, compile_shapes
from warmup.kernels.derive import derive_or_leave, merge_asks
from warmup.kernels.direct import compile_directly
from warmup.launch.launch import Launch
from warmup.report.events import Events
from warmup.supervise.phases import Phases
from warmup.words.errors import WarmupError


def make_launch(folder: Path, *args: str, tp: int = 1, engine: str = "sglang") -> Launch:
    path = write_model(folder / "model", "qwen3-8b-fp8")
    return Launch(
        model=str(path), label="./model", tp=tp, engine=engine, python=sys.executable,
        fallback_args=args,
    )  # fmt: skip


def compile_for(
    launch: Launch, folder: Path, env: Mapping[str, str], *, has_gpu: bool = True
) -> str | None:
    phases = Phases(Events(None), launch.name)
    return compile_directly(launch, env, folder, phases, has_gpu=has_gpu, check=lambda: None)


def test_a_known_launch_is_planned_and_compiled(tmp_path: Path) -> None:
    env = {
        **os.environ, "PYTHONPATH": f"{FAKES}:{ROOT}", "FAKE_GPUS": json.dumps([H200]),
        "FAKE_CALLS": str(tmp_path / "calls"), "CUDA_HOME": str(make_cuda_home(tmp_path)),
        "SGLANG_DG_CACHE_DIR": str(tmp_path / "cache"),
    }  # fmt: skip
    shapes = derive_or_leave(make_launch(tmp_path), env)
    assert [shape.kind for shape in shapes.shapes] == ["NORMAL"] * 4 + ["TRANSPOSE"] * 2
    assert compile_for(make_launch(tmp_path), tmp_path, env) is None
    num_compiled = len(list((tmp_path / "cache" / "cache").iterdir()))
    setting = Setting(engine="sglang", python=sys.executable, env=env, run_dir=tmp_path, name="run")
    result = compile_shapes(merge_asks([shapes]), setting)
    assert (result.failed, result.cache_dir) == ((), tmp_path / "cache")
    assert num_compiled == result.num_kernels > 0


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
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    launch = make_launch(tmp_path)
    told = "DeepGEMM cannot compile here: ImportError: no torch here"
    assert compile_for(launch, tmp_path, env) == told
    told_of_gpu = "DeepGEMM compiles on a GPU only, and this host shows none"
    assert compile_for(launch, tmp_path, env, has_gpu=False) == told_of_gpu
    with pytest.raises(WarmupError, match="cannot be compiled without a server") as caught:
        compile_for(msgspec.structs.replace(launch, strategy="kernels"), tmp_path, env)
    assert caught.value.cause == told

"""The vision-language model on a real GPU: our kernels beside the plain path of the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.kernels.check import get_error
from warmup.engine.args import ServerArgs
from warmup.engine.ranks import Ranks
from warmup.engine.tiny import qwen2_5_vl, qwen2_vl
from warmup.engine.vlm.model import VisionLanguageModel

pytestmark = pytest.mark.gpu

IDS = [257, *range(60, 90), 259, *[261] * 36, 260, *range(100, 110)]
GRIDS = [(1, 12, 12)]


@pytest.fixture(params=[qwen2_5_vl, qwen2_vl], ids=["qwen2.5-vl", "qwen2-vl"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    request.param.make(tmp_path / "model")
    return tmp_path / "model"


def _run(folder: Path, **settings: Any) -> tuple[torch.Tensor, VisionLanguageModel]:
    """Logits of a prefill and of two steps at batch 2, in float32 on the CPU."""
    args = ServerArgs(model=str(folder), max_batch=2, **settings)
    model = VisionLanguageModel(args, Ranks(args, 0), 128)
    pixels = torch.randn(144, 1176, generator=torch.Generator().manual_seed(1))
    seen = [model.prefill(IDS, pixels, GRIDS), model.prefill(IDS[:20], None, [])]
    seen += [*model.decode([65, 66]), *model.decode([67, 68])]
    return torch.stack(seen).float().cpu(), model


# Two layers of random weights as large as the tiny model's amplify rounding: bf16's 2⁻⁹ a step.
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-3), ("bfloat16", 5e-2)])
def test_the_gpu_gives_the_logits_of_the_cpu(
    folder: Path, dtype: str, limit: float, has_results: bool
) -> None:
    exact, _ = _run(folder, device="cpu")
    ours, model = _run(folder, device="cuda", dtype=dtype)
    assert model.installed["rms_norm"] > 0
    assert not has_results or get_error(ours, exact) < limit


def test_fp8_linears_are_installed_and_near(tmp_path: Path, has_results: bool) -> None:
    pytest.importorskip("deep_gemm")
    from benchmarks.vlm_speed import write_config

    folder = write_config("3b", tmp_path / "model")
    args = ServerArgs(model=str(folder), load_format="dummy", max_batch=1)
    plain = VisionLanguageModel(args, Ranks(args, 0), 128)
    exact = plain.prefill(range(1000, 1064), None, [])
    del plain
    args = ServerArgs(model=str(folder), load_format="dummy", max_batch=1, fp8=True)
    ours = VisionLanguageModel(args, Ranks(args, 0), 128)
    assert ours.installed["deep_gemm_fp8"] > 100
    logits = ours.prefill(range(1000, 1064), None, [])
    assert not has_results or get_error(logits, exact) < 0.3

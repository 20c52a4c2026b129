from typing import Any

import pytest
import torch

from tests.engine.kernels.check import gemm_plain, get_error, quantise_rows_plain
from warmup.engine.kernels import fp8


def _gemm(x: Any, weight: Any, out: torch.Tensor) -> None:
    """Stands where DeepGEMM would: same operands, float32 arithmetic."""
    assert x[0].dtype == weight[0].dtype == torch.float8_e4m3fn
    out.copy_(gemm_plain(x, weight))


@pytest.mark.parametrize(("n", "k"), [(128, 128), (192, 256), (64, 384), (1, 128)])
def test_block_quantisation_is_close_and_has_deep_gemms_shapes(n: int, k: int) -> None:
    weight = torch.randn(n, k) * torch.rand(n, 1) * 8
    values, scales = fp8.quantise_blocks(weight)
    assert values.shape == (n, k) and scales.shape == ((n + 127) // 128, k // 128)
    assert scales.dtype == torch.float32
    wide = scales.repeat_interleave(128, 0)[:n].repeat_interleave(128, 1)
    assert get_error(values.float() * wide, weight) < 0.04


def test_row_quantisation_keeps_each_groups_largest_value() -> None:
    x = torch.randn(6, 256)
    x[2] = 0
    values, scales = quantise_rows_plain(x)
    assert scales.shape == (6, 2)
    assert torch.equal(
        values.float().unflatten(-1, (2, 128)).abs().amax(-1)[0], torch.tensor([448.0] * 2)
    )
    assert (values[2].float() == 0).all() and torch.isfinite(scales).all()


def test_an_fp8_linear_is_near_the_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fp8, "quantise_rows", quantise_rows_plain)
    linear = torch.nn.Linear(256, 192).to(torch.bfloat16)
    converted = fp8.Fp8Linear(linear, _gemm)
    x = torch.randn(2, 5, 256, dtype=torch.bfloat16)
    with torch.no_grad():
        out, exact = converted(x), linear(x)
        assert converted(x[:0]).shape == (0, 5, 192)
    assert out.shape == (2, 5, 192) and out.dtype == torch.bfloat16
    assert get_error(out, exact) < 0.06


def test_only_fitting_linears_of_blocks_are_converted_once() -> None:
    shared = torch.nn.Linear(128, 128)
    block = torch.nn.ModuleDict(
        {"fits": torch.nn.Linear(256, 64), "odd": torch.nn.Linear(100, 64), "shared": shared}
    )
    inner = torch.nn.ModuleList([torch.nn.Sequential(shared)])
    block["inner"] = inner
    model = torch.nn.ModuleDict(
        {"blocks": torch.nn.ModuleList([block]), "head": torch.nn.Linear(128, 128)}
    )
    assert fp8.convert_linears(model, _gemm) == 2
    assert type(block["fits"]) is fp8.Fp8Linear and type(block["odd"]) is torch.nn.Linear
    assert block["shared"] is inner[0][0] and type(model["head"]) is torch.nn.Linear

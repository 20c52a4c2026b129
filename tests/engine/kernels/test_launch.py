from pathlib import Path
from typing import Any

import pytest
import torch
from triton.backends.compiler import GPUTarget

from warmup.engine.kernels.fp8 import quantise_rows
from warmup.engine.kernels.gated import gated_activation
from warmup.engine.kernels.launch import compile_only
from warmup.engine.kernels.norms import norm_modulate, rms_norm
from warmup.engine.kernels.rotary import rotate


def _meta(*shape: int, dtype: Any = torch.bfloat16) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def test_kernels_compile_for_an_h200_without_one_and_once_for_all_row_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    with compile_only(GPUTarget("cuda", 90, 32)) as compiled:
        for rows in (1, 2, 16, 33):
            rms_norm(_meta(rows, 1500), _meta(1500), 1e-6)
            angles = _meta(rows, 96, dtype=torch.float32)
            rotate(_meta(rows, 6, 96), _meta(rows, 2, 96), angles, angles)
            gated_activation(_meta(rows, 2 * 1000), "silu", True)
            joint = _meta(rows, 6 * 1536)
            norm_modulate(_meta(rows, 5 * rows, 1536), joint[:, :1536], joint[:, 1536:3072], 1e-6)
            quantise_rows(_meta(rows, 3584))
    assert {name: len(hashes) for name, hashes in compiled.hashes.items()} == {
        "rms_norm_kernel": 1,
        "rotary_kernel": 1,
        "gated_activation_kernel": 1,
        "norm_modulate_kernel": 1,
        "quantise_rows_kernel": 1,
    }
    names = [path.name for path in tmp_path.rglob("*.cubin")]
    assert sorted(names) == sorted(f"{kernel}.cubin" for kernel in compiled.hashes)


def test_compiling_leaves_the_driver_as_it_was() -> None:
    from triton.runtime.driver import driver

    before = driver._active
    with pytest.raises(RuntimeError, match="stop"), compile_only(GPUTarget("cuda", 90, 32)):
        assert driver._active is not before
        raise RuntimeError("stop")
    assert driver._active is before

"""Root mean square layer norm (Zhang and Sennrich 2019), one program per row."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from warmup.engine.kernels.launch import get_block, get_num_warps, launch


@triton.jit
def rms_norm_kernel(  # type: ignore[no-untyped-def]
    x_ptr, weight_ptr, out_ptr, width: tl.constexpr, eps: tl.constexpr, block: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, block)
    inside = columns < width
    x = tl.load(x_ptr + row * width + columns, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, axis=0) / width + eps)
    weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * width + columns, x * scale * weight, mask=inside)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x: (..., width), weight: (width,). Statistics in float32; the result has x's dtype."""
    x = x.contiguous()
    out = torch.empty_like(x)
    width = x.shape[-1]
    block = get_block(width)
    launch(
        rms_norm_kernel,
        (x.numel() // width,),
        x,
        weight,
        out,
        width=width,
        eps=eps,
        block=block,
        num_warps=get_num_warps(block),
    )
    return out

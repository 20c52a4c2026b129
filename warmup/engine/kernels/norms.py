"""Norms: root mean square (Zhang and Sennrich 2019), one program per row; and layer norm without
weights, then modulation by a condition: adaptive layer norm's hot half (Peebles and Xie 2023, DiT),
one program per token."""

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


@triton.jit(do_not_specialize=["num_tokens"])
def norm_modulate_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    scale_ptr,
    shift_ptr,
    out_ptr,
    num_tokens,
    width: tl.constexpr,
    scale_stride: tl.constexpr,
    shift_stride: tl.constexpr,
    eps: tl.constexpr,
    block: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    sample = row // num_tokens
    columns = tl.arange(0, block)
    inside = columns < width
    x = tl.load(x_ptr + row * width + columns, mask=inside, other=0.0).to(tl.float32)
    centred = tl.where(inside, x - tl.sum(x, axis=0) / width, 0.0)
    normed = centred * tl.rsqrt(tl.sum(centred * centred, axis=0) / width + eps)
    scale = tl.load(scale_ptr + sample * scale_stride + columns, mask=inside, other=0.0)
    shift = tl.load(shift_ptr + sample * shift_stride + columns, mask=inside, other=0.0)
    out = normed * (1.0 + scale.to(tl.float32)) + shift.to(tl.float32)
    tl.store(out_ptr + row * width + columns, out, mask=inside)


def norm_modulate(
    x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, eps: float
) -> torch.Tensor:
    """layer_norm(x) · (1 + scale) + shift; statistics in float32, the result has x's dtype.

    x: (batch, tokens, width). scale, shift: (batch, width), rows may be strided (chunks of one
    projection). Raises ValueError for other shapes.
    """
    batch, num_tokens, width = x.shape
    if scale.shape != (batch, width) or shift.shape != (batch, width):
        raise ValueError(f"scale and shift must be ({batch}, {width})")
    x, scale, shift = x.contiguous(), _pack_columns(scale), _pack_columns(shift)
    out = torch.empty_like(x)
    block = get_block(width)
    launch(
        norm_modulate_kernel,
        (batch * num_tokens,),
        x,
        scale,
        shift,
        out,
        num_tokens,
        width=width,
        scale_stride=scale.stride(0),
        shift_stride=shift.stride(0),
        eps=eps,
        block=block,
        num_warps=get_num_warps(block),
    )
    return out


def _pack_columns(x: torch.Tensor) -> torch.Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()

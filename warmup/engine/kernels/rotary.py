"""Rotary position embedding (Su et al. 2021), of queries and keys in one launch, in place.

The halves form of GPT-NeoX: element i of a head turns with element i + dim/2.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from warmup.engine.kernels.launch import get_block, launch


@triton.jit
def rotary_kernel(  # type: ignore[no-untyped-def]
    q_ptr,
    k_ptr,
    cos_ptr,
    sin_ptr,
    q_stride: tl.constexpr,
    k_stride: tl.constexpr,
    num_q_heads: tl.constexpr,
    head_dim: tl.constexpr,
    block: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    half: tl.constexpr = head_dim // 2
    columns = tl.arange(0, block)
    inside = columns < half
    if head < num_q_heads:
        start = q_ptr + row * q_stride + head * head_dim
    else:
        start = k_ptr + row * k_stride + (head - num_q_heads) * head_dim
    angles = row * head_dim + columns
    low = tl.load(start + columns, mask=inside).to(tl.float32)
    high = tl.load(start + half + columns, mask=inside).to(tl.float32)
    cos_low = tl.load(cos_ptr + angles, mask=inside).to(tl.float32)
    sin_low = tl.load(sin_ptr + angles, mask=inside).to(tl.float32)
    cos_high = tl.load(cos_ptr + angles + half, mask=inside).to(tl.float32)
    sin_high = tl.load(sin_ptr + angles + half, mask=inside).to(tl.float32)
    tl.store(start + columns, low * cos_low - high * sin_low, mask=inside)
    tl.store(start + half + columns, high * cos_high + low * sin_high, mask=inside)


def rotate(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """Turn q: (rows, q heads, dim) and k: (rows, k heads, dim) where they are.

    Heads and dim are packed; rows may be strided (views of one joint projection).
    cos, sin: (rows, dim), contiguous.
    """
    rows, num_q_heads, head_dim = q.shape
    launch(
        rotary_kernel,
        (rows, num_q_heads + k.shape[1]),
        q,
        k,
        cos,
        sin,
        q_stride=q.stride(0),
        k_stride=k.stride(0),
        num_q_heads=num_q_heads,
        head_dim=head_dim,
        block=get_block(head_dim // 2),
        num_warps=1,
    )

"""Gated activations (Shazeer 2020): the two halves of a projection become one, in one pass.

SiLU-and-multiply is the `silu`, gate-first case (Qwen's MLP); diffusers' GEGLU and SwiGLU keep the
gate in the second half.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from warmup.engine.kernels.launch import launch
from warmup.engine.kernels.plain import Activation

BLOCK = 1024


@triton.jit
def gated_activation_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    out_ptr,
    width: tl.constexpr,
    activation: tl.constexpr,
    gate_first: tl.constexpr,
    block: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < width
    first = tl.load(x_ptr + row * 2 * width + columns, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(x_ptr + row * 2 * width + width + columns, mask=inside, other=0.0)
    second = second.to(tl.float32)
    if gate_first:
        gate, value = first, second
    else:
        gate, value = second, first
    if activation == "silu":
        active = gate / (1.0 + tl.exp(-gate))
    elif activation == "gelu":
        active = 0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))
    else:
        inner = 0.7978845608028654 * (gate + 0.044715 * gate * gate * gate)
        # tanh(x) = 2·sigmoid(2x) − 1, so 0.5·(1 + tanh(x)) = sigmoid(2x).
        active = gate / (1.0 + tl.exp(-2.0 * inner))
    tl.store(out_ptr + row * width + columns, active * value, mask=inside)


def gated_activation(x: torch.Tensor, activation: Activation, gate_first: bool) -> torch.Tensor:
    """x: (..., 2·width) → (..., width): activation(gate) · value, computed in float32."""
    x = x.contiguous()
    width = x.shape[-1] // 2
    out = x.new_empty(*x.shape[:-1], width)
    launch(
        gated_activation_kernel,
        (x.numel() // (2 * width), triton.cdiv(width, BLOCK)),
        x,
        out,
        width=width,
        activation=activation,
        gate_first=gate_first,
        block=BLOCK,
        num_warps=4,
    )
    return out


def silu_and_mul(x: torch.Tensor) -> torch.Tensor:
    """x: (..., 2·width), gate then value → (..., width)."""
    return gated_activation(x, "silu", True)

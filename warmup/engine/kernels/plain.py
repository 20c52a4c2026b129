"""The plain torch form of each kernel: what a CPU runs, and what the kernels are held to.

Needs no Triton. Shapes are those of the kernels' wrappers.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

Activation = Literal["silu", "gelu", "gelu_tanh"]


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """As in transformers' `Qwen2_5_VLRMSNorm`."""
    wide = x.float()
    scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * scaled.to(x.dtype)


def rotate(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """In place, in float32 between."""
    for x in (q, k):
        low, high = x.float().chunk(2, dim=-1)
        turned = torch.cat((-high, low), dim=-1) * sin[:, None]
        x.copy_(x.float() * cos[:, None] + turned)


def gated_activation(x: torch.Tensor, activation: Activation, gate_first: bool) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    gate, value = (first, second) if gate_first else (second, first)
    if activation == "silu":
        return F.silu(gate) * value
    return F.gelu(gate, approximate="tanh" if activation == "gelu_tanh" else "none") * value


def silu_and_mul(x: torch.Tensor) -> torch.Tensor:
    return gated_activation(x, "silu", True)


def norm_modulate(
    x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, eps: float
) -> torch.Tensor:
    """As in diffusers' `AdaLayerNormZero`."""
    return F.layer_norm(x, x.shape[-1:], eps=eps) * (1 + scale[:, None]) + shift[:, None]

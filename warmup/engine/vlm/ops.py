"""The operations that have a kernel of ours: that on a GPU, their plain form elsewhere.

Tensors of the meta device take the kernels too: that is how they are compiled without a GPU.
"""

from __future__ import annotations

import torch

from warmup.engine.kernels import plain


def rotate(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """Rotary positions, in place. q, k: (rows, heads, dim); cos, sin: (rows, dim) in float32."""
    if q.device.type == "cpu":
        plain.rotate(q, k, cos, sin)
    else:
        from warmup.engine.kernels import rotary

        rotary.rotate(q, k, cos, sin)


def silu_and_mul(x: torch.Tensor) -> torch.Tensor:
    """(..., 2·width), gate then value → (..., width)."""
    if x.device.type == "cpu":
        return plain.silu_and_mul(x)
    from warmup.engine.kernels import gated

    return gated.silu_and_mul(x)


class GatedMlp(torch.nn.Module):
    """SiLU-gated MLP with gate and value projected by one linear."""

    def __init__(self, gate_up: torch.nn.Linear, down: torch.nn.Module) -> None:
        super().__init__()
        self.gate_up = gate_up
        self.down = down

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(silu_and_mul(self.gate_up(x)))

"""Every kernel of ours beside its plain torch form, on fresh random inputs.

One list for all who hold them to it: the CPU tests through Triton's interpreter, the tests on a
GPU, and the command line (`python -m tests.engine.kernels.check`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch

from warmup.engine.kernels import fp8, plain
from warmup.engine.kernels.gated import gated_activation, silu_and_mul
from warmup.engine.kernels.norms import norm_modulate, rms_norm
from warmup.engine.kernels.plain import Activation
from warmup.engine.kernels.rotary import rotate

Pair = tuple[torch.Tensor, torch.Tensor]
Heads = tuple[int, int, int]  # of queries, of keys, and their width
ACTIVATIONS: tuple[Activation, ...] = ("silu", "gelu", "gelu_tanh")

# By the dtype of the inputs: rounding the result to bf16 alone is up to 2⁻⁹ = 0.002.
LIMITS = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
# Triton's interpreter (3.9.0, runtime/interpreter.py, `_convert_float`) cuts off where a GPU rounds
# to the nearest FP8 value: up to one step of 2⁻³ apart.
INTERPRETED_FP8_LIMIT = 0.1


@dataclass(frozen=True)
class Case:
    """run(dtype, device) → (ours, reference); the reference computed in float32.

    is_fp8: the result holds FP8 values.
    """

    name: str
    run: Callable[[torch.dtype, str], Pair]
    is_fp8: bool = False

    def get_limit(self, dtype: torch.dtype, device: str) -> float:
        """Of `get_error`. Rounding ties may differ in FP8, so it gets bf16's limit on a GPU."""
        if self.is_fp8:
            return INTERPRETED_FP8_LIMIT if device == "cpu" else LIMITS[torch.bfloat16]
        return LIMITS[dtype]


def quantise_rows_plain(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`fp8.quantise_rows` in torch."""
    groups = x.float().unflatten(-1, (-1, fp8.GROUP))
    scales = groups.abs().amax(-1).clamp(min=fp8.SMALLEST) / fp8.FP8_MAX
    return (groups / scales[..., None]).to(torch.float8_e4m3fn).flatten(-2), scales


def gemm_plain(
    x: tuple[torch.Tensor, torch.Tensor], weight: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """What DeepGEMM computes, x · weightᵀ from quantised operands, in float32."""
    values, scales = x
    rows = values.float() * scales.repeat_interleave(fp8.GROUP, 1)
    blocks, block_scales = weight
    wide = block_scales.repeat_interleave(fp8.GROUP, 0)[: blocks.shape[0]]
    return rows @ (blocks.float() * wide.repeat_interleave(fp8.GROUP, 1)).T


def get_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """Norm of the difference over the norm of the reference, in float32; inf if not finite."""
    if not torch.isfinite(ours.float()).all():
        return float("inf")
    difference = (ours.float() - reference.float()).norm()
    return float(difference / reference.float().norm().clamp(min=1e-12))


def get_cases(wide: bool) -> list[Case]:
    """`wide`: the sizes of real models; else small odd ones, for the interpreter."""
    width, heads, tokens = (3584, (28, 4, 128), 300) if wide else (80, (3, 1, 20), 7)
    cases = [
        Case("rms_norm", lambda t, d: _check_rms_norm(t, d, width, tokens)),
        Case("rotary", lambda t, d: _check_rotary(t, d, heads, tokens)),
        Case("silu_and_mul", lambda t, d: _check_silu(t, d, width, tokens)),
        Case("norm_modulate", lambda t, d: _check_modulate(t, d, width, tokens)),
        Case("quantise_rows", lambda t, d: _check_quantise(t, d, 28 if wide else 5, tokens), True),
    ]
    return cases + [_make_gated_case(a, g, width) for a in ACTIVATIONS for g in (True, False)]


def _make_gated_case(activation: Activation, gate_first: bool, width: int) -> Case:
    def run(dtype: torch.dtype, device: str) -> Pair:
        x = torch.randn(2, 3, 2 * width, dtype=dtype, device=device) * 2
        exact = plain.gated_activation(x.float(), activation, gate_first)
        return gated_activation(x, activation, gate_first), exact

    return Case(f"gated_activation {activation} {'gate' if gate_first else 'value'} first", run)


def _check_rms_norm(dtype: torch.dtype, device: str, width: int, tokens: int) -> Pair:
    x = torch.randn(2, tokens, width, dtype=dtype, device=device) * 3
    weight = torch.randn(width, dtype=dtype, device=device)
    return rms_norm(x, weight, 1e-6), plain.rms_norm(x.float(), weight.float(), 1e-6)


def _check_rotary(
    dtype: torch.dtype, device: str, heads: tuple[int, int, int], tokens: int
) -> Pair:
    num_q, num_k, dim = heads
    joint = torch.randn(tokens, (num_q + 2 * num_k) * dim, dtype=dtype, device=device)
    cos, sin = torch.randn(2, tokens, dim, device=device).unbind(0)
    exact = joint.float()
    rotate(*_split(joint, heads), cos, sin)
    plain.rotate(*_split(exact, heads), cos, sin)
    return joint, exact  # the values, which follow the keys, must be untouched too


def _split(joint: torch.Tensor, heads: Heads) -> Pair:
    num_q, num_k, dim = heads
    q, k, _ = joint.split((num_q * dim, num_k * dim, num_k * dim), dim=-1)
    return q.unflatten(-1, (num_q, dim)), k.unflatten(-1, (num_k, dim))


def _check_silu(dtype: torch.dtype, device: str, width: int, tokens: int) -> Pair:
    x = torch.randn(tokens, 2 * width, dtype=dtype, device=device) * 2
    return silu_and_mul(x), plain.gated_activation(x.float(), "silu", True)


def _check_modulate(dtype: torch.dtype, device: str, width: int, tokens: int) -> Pair:
    x = torch.randn(2, tokens, width, dtype=dtype, device=device) * 2 + 1
    shift, scale, _ = torch.randn(2, 3 * width, dtype=dtype, device=device).chunk(3, dim=1)
    exact = plain.norm_modulate(x.float(), scale.float(), shift.float(), 1e-6)
    return norm_modulate(x, scale, shift, 1e-6), exact


def _check_quantise(dtype: torch.dtype, device: str, groups: int, tokens: int) -> Pair:
    """Its own plain form rounds alike; an all-zero row must not divide by zero."""
    x = torch.randn(tokens, groups * fp8.GROUP, dtype=dtype, device=device) * 5
    x[0] = 0
    ours, exact = fp8.quantise_rows(x), quantise_rows_plain(x)
    return (
        ours[0].float() * ours[1].repeat_interleave(fp8.GROUP, 1),
        exact[0].float() * exact[1].repeat_interleave(fp8.GROUP, 1),
    )


def main() -> int:
    """A table; 1 if any kernel is off. On a GPU if there is one, else interpreted."""
    torch.manual_seed(int.from_bytes(os.urandom(4), "little"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    num_wrong = 0
    for case in get_cases(wide=device == "cuda"):
        for dtype in LIMITS:
            error = get_error(*case.run(dtype, device))
            is_good = error <= case.get_limit(dtype, device)
            num_wrong += not is_good
            name = str(dtype).removeprefix("torch.")
            print(f"{case.name:36} {name:9} {error:.2e} {'ok' if is_good else 'WRONG'}")
    return min(num_wrong, 1)


if __name__ == "__main__":
    sys.exit(main())

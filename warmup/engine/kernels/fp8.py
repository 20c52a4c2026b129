"""Linears in FP8 (e4m3) by DeepGEMM: weights scaled in blocks of 128×128, activations in 1×128.

The scheme of DeepSeek-V3 (technical report, section 3.3), as `deep_gemm.fp8_gemm_nt` takes it on
SM90: float32 scales, value = fp8 · scale.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl

from warmup.engine.kernels.launch import launch
from warmup.words.errors import HostError

GROUP = 128
FP8_MAX = 448.0  # torch.finfo(torch.float8_e4m3fn).max
SMALLEST = 1e-4  # of a group's largest value: keeps an all-zero group from dividing by zero
GROUPS_PER_PROGRAM = 4
N_ALIGNMENT = 64


@triton.jit
def quantise_rows_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    out_ptr,
    scale_ptr,
    num_groups: tl.constexpr,
    group: tl.constexpr,
    block: tl.constexpr,
    fp8_max: tl.constexpr,
    smallest: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    groups = tl.program_id(1) * block + tl.arange(0, block)
    inside = groups < num_groups
    offsets = row * num_groups * group + groups[:, None] * group + tl.arange(0, group)[None, :]
    x = tl.load(x_ptr + offsets, mask=inside[:, None], other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(x), axis=1), smallest) / fp8_max
    scaled = (x / scale[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + offsets, scaled, mask=inside[:, None])
    tl.store(scale_ptr + row * num_groups + groups, scale, mask=inside)


def quantise_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x: (m, k), k a multiple of 128 → values (m, k) in FP8, scales (m, k/128) in float32."""
    x = x.contiguous()
    rows, width = x.shape
    num_groups = width // GROUP
    out = torch.empty_like(x, dtype=torch.float8_e4m3fn)
    scales = x.new_empty(rows, num_groups, dtype=torch.float32)
    launch(
        quantise_rows_kernel,
        (rows, triton.cdiv(num_groups, GROUPS_PER_PROGRAM)),
        x,
        out,
        scales,
        num_groups=num_groups,
        group=GROUP,
        block=GROUPS_PER_PROGRAM,
        fp8_max=FP8_MAX,
        smallest=SMALLEST,
        num_warps=4,
    )
    return out, scales


def quantise_blocks(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """weight: (n, k), k a multiple of 128 → (n, k) in FP8, scales (⌈n/128⌉, k/128) in float32."""
    n, k = weight.shape
    padded = torch.nn.functional.pad(weight.float(), (0, 0, 0, -n % GROUP))
    blocks = padded.view(-1, GROUP, k // GROUP, GROUP)
    scales = blocks.abs().amax((1, 3)).clamp(min=SMALLEST) / FP8_MAX
    scaled = (blocks / scales[:, None, :, None]).view(-1, k)[:n]
    return scaled.to(torch.float8_e4m3fn).contiguous(), scales


def can_quantise(linear: torch.nn.Linear) -> bool:
    """DeepGEMM's block shapes divide this weight's."""
    return linear.in_features % GROUP == 0 and linear.out_features % N_ALIGNMENT == 0


class Fp8Linear(torch.nn.Module):
    """Stands in for a `torch.nn.Linear` whose input is bf16 on an SM90 device."""

    def __init__(self, linear: torch.nn.Linear, gemm: Callable[..., None]) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        values, scales = quantise_blocks(linear.weight.detach())
        self.weight = torch.nn.Buffer(values)
        self.scales = torch.nn.Buffer(scales)
        self.bias = linear.bias
        self._gemm = gemm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., in_features) bf16 → (..., out_features) bf16."""
        rows = x.reshape(-1, self.in_features)
        out = rows.new_empty(rows.shape[0], self.out_features, dtype=torch.bfloat16)
        if rows.shape[0]:
            self._gemm(quantise_rows(rows), (self.weight, self.scales), out)
        if self.bias is not None:
            out += self.bias
        return out.view(*x.shape[:-1], self.out_features)


def get_gemm(device: torch.device) -> Callable[..., None]:
    """DeepGEMM's `fp8_gemm_nt((x, scales), (weight, scales), out)`.

    Raises HostError where the CUDA device is not SM90 or `deep_gemm` cannot be imported.
    """
    if torch.cuda.get_device_capability(device)[0] != 9:
        raise HostError("--fp8 needs an SM90 GPU (H100, H200)", hint="drop --fp8")
    try:
        import deep_gemm
    except ImportError as error:
        raise HostError(
            "--fp8 needs DeepGEMM", cause=str(error), hint="pip install sgl-deep-gemm"
        ) from error
    gemm: Callable[..., None] = deep_gemm.fp8_gemm_nt
    return gemm


def find_linears(model: torch.nn.Module) -> list[torch.nn.Linear]:
    """The fitting linears of the model's repeated blocks, each once.

    Blocks are the members of a ModuleList; what is outside (heads, embeddings, patch and time
    projections) is small or sensitive and stays.
    """
    found: dict[torch.nn.Linear, None] = {}
    for blocks in model.modules():
        if isinstance(blocks, torch.nn.ModuleList):
            for module in blocks.modules():
                if type(module) is torch.nn.Linear and can_quantise(module):
                    found[module] = None
    return list(found)


def convert_linears(model: torch.nn.Module, gemm: Callable[..., None]) -> int:
    """Put an `Fp8Linear` in place of each of `find_linears`; returns how many."""
    converted = {linear: Fp8Linear(linear, gemm) for linear in find_linears(model)}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child in converted:
                setattr(parent, name, converted[child])
    return len(converted)

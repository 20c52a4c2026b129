"""What a rank asks DeepGEMM for: the shapes of its FP8 matrix products.

A shape is per rank and without M, the number of tokens: DeepGEMM compiles for N, K and the
number of groups, and M only chooses among a few block sizes (`warmup.kernels.selection`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from warmup.words.errors import UsageError, WarmupError

Kind = Literal["NORMAL", "CONTIG", "MASKED", "TRANSPOSE"]

# Weights are scaled in blocks of 128×128, and DeepGEMM is asked only where N and K fit (sglang
# 0.5.23, layers/quantization/fp8_utils.py, _deepgemm_block_fp8_supported).
BLOCK = 128
N_MULTIPLE = 64
HALVED_MAX_M = 1024


class Shape(msgspec.Struct, frozen=True, order=True):
    """One product per rank: (tokens, k) · (groups, n, k)ᵀ → (tokens, n).

    kind: NORMAL, one weight; CONTIG, experts with their tokens in one row of blocks (prefill);
    MASKED, experts with a fixed number of rows each (decoding under CUDA graphs); TRANSPOSE, no
    product, but what brings the scales of k columns into TMA's order, one kernel for each k.
    """

    kind: Kind
    n: int
    k: int
    groups: int = 1

    def __post_init__(self) -> None:
        if min(self.n, self.k, self.groups) < 1:
            raise ValueError(f"sizes must be positive: {self}")

    def __str__(self) -> str:
        if self.kind == "TRANSPOSE":
            return f"TRANSPOSE k={self.k}"
        return f"{self.kind} n={self.n} k={self.k} groups={self.groups}"


class Ask(msgspec.Struct, frozen=True, order=True):
    """A shape as a rank runs it. is_halved: on half of the SMs, beside something else.

    sglang 0.5.23, layers/attention/dsa/dsa_indexer.py: `half_device_sm_count`, for batches of up
    to DUAL_STREAM_TOKEN_THRESHOLD tokens. The number of SMs is part of a kernel.
    """

    shape: Shape
    is_halved: bool = False

    def get_num_sms(self, num_sms: int) -> int:
        """Of a device's `num_sms`, those that it runs on."""
        return -(-(num_sms // 2) // 8) * 8 if self.is_halved else num_sms

    def get_max_m(self, max_m: int) -> int:
        return min(max_m, HALVED_MAX_M) if self.is_halved else max_m

    def __str__(self) -> str:
        return f"{self.shape} on half of the SMs" if self.is_halved else str(self.shape)


class NotModelledError(WarmupError):
    """This model's shapes cannot be derived here; a server of its own can still compile them."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How one launch spreads a model over its ranks, and which products go to DeepGEMM.

    attention_tp, dense_tp: ranks that share attention and the dense MLPs; experts_tp: ranks that
    share one expert's intermediate size; ep: ranks that the experts are dealt to.
    experts: forms in which the experts ask DeepGEMM. fuse_shared: whether the shared experts may
    join the routed ones; None: the model's own default. shared_tp: ranks of a shared expert of
    its own. absorbed_bmm: whether MLA's absorbed products are DeepGEMM's too.
    max_m: tokens of the largest batch.
    """

    tp: int
    attention_tp: int
    dense_tp: int
    experts_tp: int
    ep: int
    shared_tp: int
    experts: tuple[Kind, ...] = ("CONTIG", "MASKED")
    fuse_shared: bool | None = None
    absorbed_bmm: bool = False
    max_m: int = 16384


def divide(value: int, by: int, what: str, who: str) -> int:
    """value / by; UsageError where a rank would get a part of `what`."""
    if value % by:
        raise UsageError(
            f"{who}: {what} {value} does not divide by {by}",
            hint="give a parallel size that divides it",
        )
    return value // by

"""Which kernel DeepGEMM takes for a product of M tokens, on SM90: its heuristic, in our words.

Source: DeepGEMM 54e2261, csrc/jit_kernels/heuristics/sm90.hpp and common.hpp, which is letter by
letter the same in every branch and release of 2026 that was looked at (deepseek-ai main, nv_dev;
sgl-project v0.1.0 to dev), and the kernel's template arguments, csrc/jit_kernels/impls/
sm90_fp8_gemm_1d2d.hpp, which sgl-deep-gemm 0.1.5.post1's library holds too. 0.2.3.post2 and 0.2.5
were asked, on a null device, for 26 906 plain, 2 797 contiguous and 2 640 masked products: they
select the same, and compile N in for a few tilings (`is_wide`). Where the installed version selects
otherwise, a kernel more or less is compiled ahead: never a wrong one.

The heuristic: of all tilings (block sizes, cluster) that are legal and fit in shared memory, the
one with the fewest cycles, the first of equals. Cycles are those of the busier of L1 and L2, over
the share of SMs at work in the last wave.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from warmup.kernels.shapes import BLOCK, Shape

H200_SMS = 132

_SMEM_BYTES = 232448
_MAX_STAGES = 16
_BARRIER_BYTES = _MAX_STAGES * 8 * 2
_L2_BYTES_PER_CYCLE = 8e6 / 1.3e3
_MAX_BLOCK_N = 192
_ROUNDING = 1 + 1e-5  # floats round by at most 2⁻²³ a step; integers lose less than a cycle twice
_CUT = 2.0
NEVER = (1 << 63) - 1


@dataclass(frozen=True)
class Tiling:
    """Block and cluster sizes; stages: of the pipeline through shared memory.

    l1_bytes, l2_bytes: what one block moves.
    """

    index: int
    block_m: int
    block_n: int
    cluster_m: int
    cluster_n: int
    stages: int
    blocks_n: int
    l1_bytes: int
    l2_bytes: int

    @property
    def cluster(self) -> int:
        return self.cluster_m * self.cluster_n

    @property
    def is_wide(self) -> bool:
        """Whether sgl-deep-gemm 0.2.x compiles N into the plain product's kernel."""
        return self.block_m == 128 and self.block_n > 128 and self.cluster == 1


@dataclass(frozen=True)
class Kernel:
    """What one compiled kernel is specialised for. n, k: 0 where they are arguments."""

    kind: str
    n: int
    k: int
    groups: int
    block_m: int
    block_n: int
    stages: int
    cluster: int
    is_multicast_on_a: bool
    num_sms: int


class Selector:
    """DeepGEMM's choice for one shape on a device of `num_sms` SMs.

    compiled_dims: which of `n` and `k` the kernel is compiled for (an argument's default in
    deep_gemm: none for NORMAL, both for the others). version: deep_gemm's; "" the newest known.
    """

    def __init__(
        self,
        shape: Shape,
        num_sms: int = H200_SMS,
        compiled_dims: str | None = None,
        version: str = "",
    ) -> None:
        self.shape = shape
        self._num_sms = num_sms
        self._dims = compiled_dims
        if compiled_dims is None:
            self._dims = "" if shape.kind == "NORMAL" else "nk"
        # sgl-deep-gemm 0.2 and later; its siblings count from 1 or 2, and were not asked.
        minor = re.match(r"0\.(\d+)", version)
        is_newer = not version or (minor is not None and int(minor[1]) >= 2)
        self._has_wide = shape.kind == "NORMAL" and is_newer
        # Expected groups: a contiguous layout is one row of blocks.
        self._groups = shape.groups if shape.kind == "MASKED" else 1
        self._l1 = 128 * num_sms
        self._l2 = int(min(64.0 * num_sms, _L2_BYTES_PER_CYCLE))
        self._ranked = self._rank(list(self.iter_tilings((64, 128, 256))))
        self._kernels: dict[tuple[int, ...], Kernel] = {}

    def select(self, m: int) -> Kernel:
        """The kernel for m rows (MASKED: rows expected in each group). m >= 1."""
        if self.shape.kind == "NORMAL" and m <= 32:
            # Blocks of 16 and 32 rows are candidates for few rows alone, between 128 and 256.
            small = (16, 32) if m <= 16 else (32,)
            tilings = list(self.iter_tilings((64, 128, *small, 256)))
            best = self._choose(m, self._rank(tilings))
        else:
            best = self._choose(m, self._ranked)
        key = (best.block_m, best.block_n, best.cluster_m, best.cluster_n)
        if key not in self._kernels:
            self._kernels[key] = self._make_kernel(best)
        return self._kernels[key]

    def _make_kernel(self, tiling: Tiling) -> Kernel:
        dims = self._dims or ""
        return Kernel(
            kind=self.shape.kind,
            n=self.shape.n if "n" in dims or (self._has_wide and tiling.is_wide) else 0,
            k=self.shape.k if "k" in dims else 0,
            groups=self.shape.groups,
            block_m=tiling.block_m,
            block_n=tiling.block_n,
            stages=tiling.stages,
            cluster=tiling.cluster,
            is_multicast_on_a=tiling.cluster_n > 1,
            num_sms=self._num_sms,
        )

    def _choose(self, m: int, ranked: list[tuple[float, float, Tiling]]) -> Tiling:
        """The first of those with the fewest cycles.

        `ranked` goes by the cost per row, a lower bound: the search ends where it passes the best.
        """
        sms, groups = self._num_sms, self._groups
        limit = float("inf")
        near: list[tuple[float, Tiling]] = []
        for per_row, per_block, tiling in ranked:
            if per_row * m - sms - _CUT > limit:
                break
            if per_block - sms - _CUT > limit:
                continue
            blocks = -(-m // tiling.block_m) * tiling.blocks_n * groups
            waves = -(-blocks // sms)
            if waves == 1 and tiling.cluster > 1:
                continue  # no multicast within a single wave
            estimate = per_block * waves
            least = estimate - waves * sms / blocks - _CUT
            if least <= limit:
                limit = min(limit, estimate * _ROUNDING)
                near.append((least, tiling))
        close = [tiling for least, tiling in near if least <= limit]
        if len(close) == 1:
            return close[0]
        return min(close, key=lambda tiling: (self.get_cycles(m, tiling), tiling.index))

    def get_cycles(self, m: int, tiling: Tiling) -> int:
        """Cycles of one tiling as the heuristic counts them, 32-bit floats included."""
        blocks = -(-m // tiling.block_m) * tiling.blocks_n * self._groups
        waves = -(-blocks // self._num_sms)
        if waves <= 1 and tiling.cluster > 1:
            return NEVER
        busier = max(tiling.l1_bytes * blocks // self._l1, tiling.l2_bytes * blocks // self._l2)
        efficiency = _float32(_float32(blocks) / _float32(waves * self._num_sms))
        return int(_float32(_float32(busier) / efficiency))

    def _rank(self, tilings: list[Tiling]) -> list[tuple[float, float, Tiling]]:
        ranked = []
        for tiling in _drop_dominated(tilings):
            cost = max(tiling.l1_bytes / self._l1, tiling.l2_bytes / self._l2) * self._num_sms
            per_row = cost * tiling.blocks_n * self._groups / tiling.block_m / self._num_sms
            ranked.append((per_row, cost, tiling))
        ranked.sort(key=lambda each: each[0])
        return ranked

    def iter_tilings(self, blocks_m: tuple[int, ...]) -> Iterator[Tiling]:
        """The legal tilings with these rows a block (NORMAL alone chooses), in upstream's order."""
        if self.shape.kind == "CONTIG":
            blocks_m = (BLOCK,)  # the alignment of the contiguous layout on SM90
        elif self.shape.kind == "MASKED":
            blocks_m = (64, 128)
        index = 0
        for cluster_m, cluster_n in ((1, 1), (1, 2), (2, 1)):
            if self._num_sms % (cluster_m * cluster_n):
                continue
            for block_m in blocks_m:
                for block_n in range(16, _MAX_BLOCK_N + 1, 16):
                    stages = self._find_stages(block_m, block_n, cluster_m * cluster_n)
                    if stages is not None:
                        yield self._make(index, block_m, block_n, cluster_m, cluster_n, stages)
                        index += 1

    def _find_stages(self, block_m: int, block_n: int, cluster: int) -> int | None:
        """Stages that fit in shared memory; None where the tiling is not legal."""
        over = block_n - BLOCK
        if over > 0 and block_n % over and BLOCK % over:
            return None
        if self.shape.kind == "MASKED" and -(-self.shape.n // block_n) % cluster:
            return None
        if block_m > BLOCK and block_n > BLOCK:
            return None
        uniform = 1 if BLOCK % block_n == 0 else 2
        scales = _align(-(-self.shape.k // BLOCK) * 4 * uniform, 8)
        fixed = _align(block_m * block_n * 2, 1024) + _BARRIER_BYTES + scales
        per_stage = (block_m + block_n) * BLOCK + _align(block_m * 4, 128)
        # C++ divides towards zero; less than nothing is not a stage either way.
        stages = min((_SMEM_BYTES - fixed) // per_stage, _MAX_STAGES)
        least = 4 if block_m * block_n < 128 * 192 else 3
        return stages if stages >= least else None

    def _make(
        self, index: int, block_m: int, block_n: int, cluster_m: int, cluster_n: int, stages: int
    ) -> Tiling:
        k, out = self.shape.k, block_m * block_n * 2
        l1 = k * (block_m + block_n) + k * (max(64, block_m) + block_n) + out + out
        l2 = k * (block_m // cluster_n + block_n // cluster_m) + out
        blocks_n = -(-self.shape.n // block_n)
        return Tiling(index, block_m, block_n, cluster_m, cluster_n, stages, blocks_n, l1, l2)


def _drop_dominated(tilings: list[Tiling]) -> list[Tiling]:
    """Without tilings that an earlier one of the same blocks beats or equals for every M.

    The same blocks make the same waves and L1 traffic, so L2 traffic alone tells; and a cluster
    is refused where a single block is not.
    """
    kept: dict[tuple[int, int], list[Tiling]] = {}
    for tiling in tilings:
        others = kept.setdefault((tiling.block_m, tiling.block_n), [])
        if all(other.l2_bytes > tiling.l2_bytes for other in others):
            others.append(tiling)
    return [tiling for others in kept.values() for tiling in others]


def _align(value: int, to: int) -> int:
    return -(-value // to) * to


def _float32(value: float) -> float:
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded

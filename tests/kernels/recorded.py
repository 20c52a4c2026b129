"""Read a DeepGEMM cache entry back: which kernel its source instantiates.

Source: csrc/jit_kernels/impls/sm90_fp8_gemm_1d2d.hpp (DeepGEMM 54e2261; the same template is in
sgl-deep-gemm 0.1.5.post1's library).
"""

from __future__ import annotations

import re

from warmup.kernels.selection import Kernel

_ARGUMENTS = re.compile(r"&sm90_fp8_gemm_1d2d_impl<(.*?)>\)", re.DOTALL)
_KINDS = {
    "GemmType::Normal": "NORMAL",
    "GemmType::MGroupedContiguous": "CONTIG",
    "GemmType::MGroupedMasked": "MASKED",
}
# Places among the template's arguments: scale order, M, N, K, groups, three block sizes, three
# swizzles, stages, two thread counts, cluster, whether it is over A, SMs, kind, …
_N, _K, _GROUPS, _BLOCK_M, _BLOCK_N = 2, 3, 4, 5, 6
_STAGES, _CLUSTER, _ON_A, _NUM_SMS, _KIND = 11, 14, 15, 16, 17


def read_kernel(source: str) -> Kernel | None:
    """The kernel of a kernel.cu; None for one that is no FP8 product of SM90."""
    found = _ARGUMENTS.search(source)
    if found is None:
        return None
    parts = [part.strip() for part in found.group(1).split(",")]
    return Kernel(
        kind=_KINDS.get(parts[_KIND], parts[_KIND]),
        n=int(parts[_N]),
        k=int(parts[_K]),
        groups=int(parts[_GROUPS]),
        block_m=int(parts[_BLOCK_M]),
        block_n=int(parts[_BLOCK_N]),
        stages=int(parts[_STAGES]),
        cluster=int(parts[_CLUSTER]),
        is_multicast_on_a=parts[_ON_A] in ("true", "1"),
        num_sms=int(parts[_NUM_SMS]),
    )

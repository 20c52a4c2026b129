from __future__ import annotations

from typing import Any

import deep_gemm


def get_mn_major_tma_aligned_tensor(scales: Any) -> Any:
    rows, columns = scales.shape
    source = f"(&transpose_fp32<512, 64, {columns}>);"
    deep_gemm.build(deep_gemm.Shape("TRANSPOSE", 1, 128 * columns), rows, source)
    return scales

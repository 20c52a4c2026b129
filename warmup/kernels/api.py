"""Kernels from a model's config alone: shapes, selection, compilers, rebuilding.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from warmup.kernels.check import LibraryCheck, check_library
from warmup.kernels.config import download_config
from warmup.kernels.deep_gemm import Setting, compile_shapes
from warmup.kernels.derive import FAMILIES, ModelShapes, derive, merge_asks
from warmup.kernels.direct import compile_directly
from warmup.kernels.m_values import describe_ms
from warmup.kernels.rebuild import find_toolchain, rebuild
from warmup.kernels.selection import H200_SMS
from warmup.kernels.target import compile_for_target
from warmup.kernels.work import KernelsDocument, begin

__all__ = [
    "FAMILIES",
    "H200_SMS",
    "KernelsDocument",
    "LibraryCheck",
    "ModelShapes",
    "Setting",
    "begin",
    "check_library",
    "compile_directly",
    "compile_for_target",
    "compile_shapes",
    "derive",
    "describe_ms",
    "download_config",
    "find_toolchain",
    "merge_asks",
    "rebuild",
]

"""A package's headers and the cache entries that DeepGEMM would have written with them."""

from __future__ import annotations

import json
from pathlib import Path

from warmup.kernels.digest import CsrcKeys, JitKeys

CODE = b"\n#include <deep_gemm/a.cuh>\n__global__ void f() {}\n"
NVCC = "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release {0}, V{0}.88\n"
OPTIONS = {
    "optimize_level": "3", "use_fast_math": False, "ptxas_verbose": False,
    "ptxas_register_usage_level": 10, "check_no_spills": False, "check_no_local_memory": False,
    "with_line_info": False, "dump_ptx": False, "dump_sass": False, "arch": "90a",
    "nvcc_flags": ["-std=c++20", "--expt-relaxed-constexpr"], "extra_nvcc_flags": [],
    "post_hook": None,
}  # fmt: skip
JIT_FLAGS = [
    "--gpu-architecture=sm_90a", "-O3", "--compiler-options=-O3",
    "--ptxas-options=--register-usage-level=10", "-std=c++20", "--expt-relaxed-constexpr",
]  # fmt: skip


def make_package(folder: Path) -> Path:
    """Its `include` folder."""
    include = folder / "deep_gemm" / "include"
    (include / "deep_gemm" / "sub").mkdir(parents=True)
    (include / "deep_gemm" / "a.cuh").write_text(
        "#pragma once\n#include <deep_gemm/sub/b.cuh>\n#include <cuda.h>\nint a;\n"
    )
    (include / "deep_gemm" / "sub" / "b.cuh").write_text("int b;\n")
    return include


def write_csrc(cache: Path, include: Path, release: str, name: str = "sm90_fp8_gemm_1d2d") -> Path:
    keys = CsrcKeys(include, release)
    code = f"// Includes' hash value: {keys.get_include_hash(CODE)}\n".encode() + CODE
    entry = cache / "cache" / f"kernel.{name}.{keys.get_digest(name, code)}"
    _write(entry, code)
    return entry


def write_jit(cache: Path, include: Path, release: str, name: str = "sm90_fp8_gemm_1d2d") -> Path:
    version = NVCC.format(release)
    digest = JitKeys(include, ["deep_gemm"]).get_digest("sig", version, JIT_FLAGS, CODE)
    entry = cache / "cache" / f"{name}.{digest}"
    _write(entry, CODE)
    meta = {
        "command": "nvcc …",
        "config": {
            "python_library_root": str(include.parent), "extra_signature": "sig",
            "include_dirs": [str(include)], "include_prefixes": ["deep_gemm"],
        },
        "compiler_info": {"path": "/usr/local/cuda/bin/nvcc", "version": version},
        "compiler_options": OPTIONS,
    }  # fmt: skip
    (entry / "meta.json").write_text(json.dumps(meta))
    (entry / ".committed").touch()
    return entry


def _write(entry: Path, code: bytes) -> None:
    entry.mkdir(parents=True)
    (entry / "kernel.cu").write_bytes(code)
    (entry / "kernel.cubin").write_bytes(b"\x7fELF")

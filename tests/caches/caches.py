"""Real caches and recorded trees for the tests of `warmup.caches`."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

from tests.needs import require

# What a Triton program compiles for a GPU that need not be there. argv: architecture, kernel name.
_TRITON_PROGRAM = """
import sys, types
from pathlib import Path
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

source = Path(sys.argv[3])
source.write_text(
    "import triton, triton.language as tl\\n"
    "@triton.jit\\n"
    f"def {sys.argv[2]}(x, n, B: tl.constexpr):\\n"
    "    o = tl.program_id(0) * B + tl.arange(0, B)\\n"
    "    tl.store(x + o, tl.load(x + o, mask=o < n) + 1, mask=o < n)\\n"
)
import importlib.util
spec = importlib.util.spec_from_file_location("kernels", source)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
kernel = getattr(module, sys.argv[2])
signature = {"x": "*fp32", "n": "i32", "B": "constexpr"}
src = ASTSource(fn=kernel, signature=signature, constexprs={"B": 64})
triton.compile(src, target=GPUTarget("cuda", int(sys.argv[1]), 32))
"""


def compile_triton(root: Path, kernel: str, *, arch: int = 90, source: Path) -> None:
    """Compile one kernel with Triton into the cache `root`; a hit writes nothing.

    source: where the kernel's text lies; Triton's key holds its contents, not its path.
    """
    require("python:triton")
    env = {**os.environ, "TRITON_CACHE_DIR": str(root), "TRITON_DEFAULT_FP_FUSION": "1"}
    command = [sys.executable, "-c", _TRITON_PROGRAM, str(arch), kernel, str(source)]
    subprocess.run(command, env=env, check=True, timeout=120)


def make_cubin(arch: int = 90) -> bytes:
    """The least that counts as a whole cubin: an ELF header for CUDA, no tables, some code."""
    ident = b"\x7fELF\x02\x01\x01\x41\x08" + b"\0" * 7
    fields = (1, 190, 1, 0, 0, 0, arch << 8, 64, 56, 0, 64, 0, 0)
    return ident + struct.pack("<HHIQQQIHHHHHH", *fields) + bytes(512)


def write_deep_gemm(
    root: Path, name: str = "fp8_gemm", digest: str = "0" * 32, cubin: bytes = b"cubin"
) -> Path:
    """An entry as DeepGEMM 54e2261 leaves it (csrc/jit/compiler.hpp)."""
    folder = root / "cache" / f"kernel.{name}.{digest}"
    folder.mkdir(parents=True)
    (folder / "kernel.cu").write_text("// source\n")
    (folder / "kernel.cubin").write_bytes(cubin)
    return folder


def write_deep_jit(root: Path, include: str, name: str = "fp8_gemm", cubin: bytes = b"x") -> Path:
    """An entry as sgl-deep-gemm 0.2.5 leaves it (include/deep_jit/cache/disk.hpp)."""
    folder = root / "cache" / f"{name}.{'1' * 16}"
    folder.mkdir(parents=True)
    (folder / "kernel.cu").write_text("// source\n")
    (folder / "kernel.cubin").write_bytes(cubin)
    meta = {"command": "nvcc …", "config": {"include_dirs": [include, "/usr/local/cuda/include"]}}
    (folder / "meta.json").write_text(json.dumps(meta))
    (folder / ".committed").touch()
    return folder


def write_flashinfer(base: Path, cuda_home: str, name: str = "batch_prefill") -> Path:
    """A module as flashinfer-python 0.7.2 leaves it (jit/cpp_ext.py), under its workspace base."""
    version = base / ".cache" / "flashinfer" / "0.7.2" / "90a"
    source = version / "generated" / name / f"{name}.cu"
    folder = version / "cached_ops" / name
    source.parent.mkdir(parents=True)
    folder.mkdir(parents=True)
    source.write_text("// source\n")
    (folder / f"{name}.cuda.o").write_bytes(b"object")
    (folder / f"{name}.so").write_bytes(b"shared")
    (folder / ".ninja_log").write_text("# ninja log v5\n")
    (folder / "build.ninja").write_text(
        "ninja_required_version = 1.3\n"
        f"name = {name}\n"
        f"cuda_home = {cuda_home}\n"
        "nvcc = $cuda_home/bin/nvcc\n"
        "\n"
        "rule cuda_compile\n"
        "  command = $nvcc -c $in -o $out\n"
        "\n"
        f"build $name.cuda.o: cuda_compile {source}\n"
        f"build {folder}/$name.so: link $name.cuda.o\n"
    )
    set_mtime(source, 1_000_000_000)
    set_mtime(folder / f"{name}.cuda.o", 1_000_000_010)
    set_mtime(folder / f"{name}.so", 1_000_000_020)
    return folder


def set_mtime(path: Path, seconds: float) -> None:
    os.utime(path, ns=(path.stat().st_atime_ns, int(seconds * 1e9)))

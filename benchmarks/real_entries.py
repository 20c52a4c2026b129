"""Real cache entries for benchmarks, made on a machine without a GPU.

`python -m benchmarks.real_entries FOLDER [--triton N] [--nvcc N] [--large N --mib M]`; called
again, it makes what is missing. Triton and nvcc compile each kernel anew, for sm_90, one constant
apart. The large files are pieces of this environment's own shared objects (code, as FlashInfer's
and Inductor's are), as entries of Triton.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_TRITON = """
import importlib.util, sys
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

source = Path(sys.argv[1])
source.write_text('''
import triton, triton.language as tl
@triton.jit
def scale(x, y, n, K: tl.constexpr, B: tl.constexpr):
    o = tl.program_id(0) * B + tl.arange(0, B)
    a = tl.load(x + o, mask=o < n, other=0.0)
    tl.store(y + o, tl.exp(a * K) / (1.0 + tl.sum(a * a)), mask=o < n)
''')
spec = importlib.util.spec_from_file_location("kernels", source)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
signature = {"x": "*fp32", "y": "*fp32", "n": "i32", "K": "constexpr", "B": "constexpr"}
for k in range(int(sys.argv[2]), int(sys.argv[3])):
    constants = {"K": k, "B": 256}
    made = ASTSource(fn=module.scale, signature=signature, constexprs=constants)
    triton.compile(made, target=GPUTarget("cuda", 90, 32))
"""
_CUDA = """
extern "C" __global__ void scale_{k}(const float* x, float* y, int n) {{
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = expf(x[i] * {k}.0f) / (1.0f + x[i] * x[i]);
}}
"""
_MIB = 1 << 20


def make_triton(root: Path, num: int) -> None:
    """num entries of ttir, ttgir, llir, ptx, cubin, json and a group each."""
    have = sum(1 for _ in root.glob("triton/*/__grp__*"))
    env = {**os.environ, "TRITON_CACHE_DIR": str(root / "triton"), "TRITON_DEFAULT_FP_FUSION": "1"}
    command = [sys.executable, "-c", _TRITON, str(root / "kernels.py"), str(have), str(num)]
    subprocess.run(command, env=env, check=True)
    (root / "kernels.py").unlink()


def make_nvcc(root: Path, num: int) -> None:
    """num entries as DeepGEMM leaves them: a source and its cubin."""

    def make(k: int) -> None:
        source = _CUDA.format(k=k)
        digest = hashlib.sha256(source.encode()).hexdigest()[:32]
        folder = root / "deep_gemm" / "cache" / f"kernel.scale_{k}.{digest}"
        if not (folder / "kernel.cubin").exists():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "kernel.cu").write_text(source)
            command = ["nvcc", "-arch=sm_90", "-cubin", "-o", "kernel.cubin", "kernel.cu"]
            subprocess.run(command, cwd=folder, check=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, range(num)))


def make_large(root: Path, num: int, size: int) -> None:
    """num files of `size` bytes each, no two alike."""
    folders = [Path(folder) for folder in (*sys.path, "/usr/lib") if Path(folder).is_dir()]
    found = {path for folder in folders for path in folder.rglob("*.so*") if path.is_file()}
    sources = sorted(found, key=lambda path: (-path.stat().st_size, str(path)))
    chunks = _read_forever(sources)
    for k in range(num):
        folder = root / "triton" / f"LARGE{k:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "launcher.so").open("wb") as out:
            out.write(k.to_bytes(8, "little"))
            while (left := size - out.tell()) > 0:
                out.write(next(chunks)[:left])


def _read_forever(sources: list[Path]) -> Iterator[bytes]:
    while True:
        for path in sources:
            with path.open("rb") as file:
                while data := file.read(_MIB):
                    yield data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--triton", type=int, default=0)
    parser.add_argument("--nvcc", type=int, default=0)
    parser.add_argument("--large", type=int, default=0, help="files")
    parser.add_argument("--mib", type=int, default=41, help="of each large file")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.triton:
        make_triton(options.folder, options.triton)
    if options.nvcc:
        make_nvcc(options.folder, options.nvcc)
    if options.large:
        make_large(options.folder, options.large, options.mib * _MIB)


if __name__ == "__main__":
    main()

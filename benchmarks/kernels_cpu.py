"""Compiling in parallel on this machine's cores, beside one after the other. Needs no GPU.

Both times hold everything: starting the workers, their imports, every compile into an empty
cache. The best of a few rounds, taken in turn. `python -m benchmarks.kernels_cpu [WORKERS]`
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.table import get_machine, print_table
from warmup.kernels import target
from warmup.kernels.pool import CompileJob, CompilePool, WorkerSpec
from warmup.kernels.rebuild import HANDLER
from warmup.state.nvcc import find_toolkit

NUM_TRITON = 240
NUM_NVCC = 12
ROUNDS = 3
TARGET = "cuda:90"
# About what a small kernel of DeepGEMM costs nvcc: one and a half seconds of a core.
SOURCE = """
template <int N> __device__ float mix(float x) {
    #pragma unroll
    for (int i = 0; i < N; ++i) x = x * x - 1.0f / (x + i);
    return x;
}
template <int N> __global__ void f(float* out) { out[threadIdx.x] = mix<N>(out[threadIdx.x]); }
template __global__ void f<300 + %d>(float*);
template __global__ void f<320 + %d>(float*);
template __global__ void f<340 + %d>(float*);
template __global__ void f<360 + %d>(float*);
"""


def make_triton_jobs() -> list[CompileJob]:
    """One kernel of the engine in many widths, described as the engine would launch it."""
    import torch

    from warmup.engine.kernels import aot
    from warmup.engine.kernels.norms import rms_norm

    with aot.listing(aot.parse_target(TARGET)) as found:
        for index in range(NUM_TRITON):
            width = 1024 + 8 * index
            x = torch.empty(2, width, dtype=torch.bfloat16, device="meta")
            rms_norm(x, torch.empty(width, dtype=torch.bfloat16, device="meta"), 1e-6)
    return [CompileJob(each["name"], {"op": "compile", **each}) for each in found.values()]


def make_nvcc_jobs(folder: Path, nvcc: str) -> list[CompileJob]:
    (folder / "cache").mkdir()
    argv = [nvcc, "{folder}/kernel.cu", "-cubin", "-o", "{folder}/kernel.cubin", "-arch=sm_90a"]
    return [
        CompileJob(
            f"kernel {index}",
            {
                "entry": str(folder / "cache" / str(index)),
                "source": SOURCE % ((index,) * 4),
                "argv": argv,
                "files": {},
            },
        )
        for index in range(NUM_NVCC)
    ]


def measure(
    spec: WorkerSpec, count: int, jobs: list[CompileJob], env: dict[str, str], cwd: Path
) -> float:
    begin = time.perf_counter()
    with CompilePool([spec] * count, env=env, cwd=cwd, log=cwd / "log") as pool:
        outcomes = pool.run(jobs)
    failed = [each.error for each in outcomes if each.error is not None]
    if failed:
        raise SystemExit(f"{len(failed)} failed: {failed[0]}")
    return time.perf_counter() - begin


def make_spec() -> WorkerSpec:
    return WorkerSpec(python=sys.executable, handler=target.HANDLER, args=(TARGET,))


def measure_triton(jobs: list[CompileJob], count: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        cwd = Path(name)
        env = target.get_worker_env(os.environ, cwd / "cache")
        return measure(make_spec(), count, jobs, env, cwd)


def measure_nvcc(count: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        cwd = Path(name)
        jobs = make_nvcc_jobs(cwd, find_toolkit(os.environ).nvcc)
        spec = WorkerSpec(python=sys.executable, handler=HANDLER, args=(name,))
        return measure(spec, count, jobs, dict(os.environ), cwd)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else len(os.sched_getaffinity(0))
    jobs = make_triton_jobs()
    parts: list[tuple[str, int, Callable[[int], float]]] = [
        ("Triton, for cuda:90", len(jobs), partial(measure_triton, jobs)),
        ("nvcc, for sm_90a", NUM_NVCC, measure_nvcc),
    ]
    print(f"{get_machine()}; load {os.getloadavg()[0]:.1f} before\n")
    rows = []
    for name, kernels, run in parts:
        rounds = [(run(1), run(count)) for _ in range(ROUNDS)]
        alone, together = (min(taken) for taken in zip(*rounds, strict=True))
        ratio = f"{alone / together:.2f}"
        rows.append((name, str(kernels), f"{alone:.1f} s", f"{together:.1f} s", ratio))
    print_table(("", "kernels", "1 process", f"{count} processes", "ratio"), rows)


if __name__ == "__main__":
    main()

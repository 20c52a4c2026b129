"""DeepGEMM's kernels cold on an SM90 GPU: the public scripts' way, ours, and what bounds both.

(a) one process, every M, one shape after another; (b) one M for each kernel, over all cores. Both
into an empty cache, through the same calls. The bound is nvcc's own CPU seconds over the cores.
Also held: both leave the same entries, and those are the ones that the heuristic foretold
(`warmup/kernels/selection.py`). What was compiled is written to
benchmarks/results/kernels_gpu.json, which tests/kernels/test_recorded.py then holds the
derivation against.

    python -m benchmarks.kernels_gpu                       both models, (a) and (b)
    python -m benchmarks.kernels_gpu --model qwen3-30b-a3b-fp8 --skip-sweep

The interpreter needs torch and sgl-deep-gemm whose `_C.so` fits it (0.1.0 to 0.1.5.post1 for
torch 2.11, with the apache-tvm-ffi that it pins).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.table import get_machine, print_table
from warmup.kernels.check import read_kernel
from warmup.kernels.deep_gemm import Result, Setting, compile_shapes
from warmup.kernels.derive import ModelShapes, derive, merge_asks
from warmup.kernels.m_values import choose_kernels
from warmup.launch.launch import Launch

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "tests" / "kernels" / "configs"
RECORD = ROOT / "benchmarks" / "results" / "kernels_gpu.json"
MODELS = {"deepseek-v3": 8, "qwen3-30b-a3b-fp8": 1}
_TIMES = re.compile(r"(\d+)m([\d.]+)s (\d+)m([\d.]+)s")


@dataclass(frozen=True)
class Run:
    seconds: float
    nvcc_cpu_s: float
    entries: frozenset[str]
    result: Result


def get_model(name: str, folder: Path) -> ModelShapes:
    path = folder / name
    path.mkdir(exist_ok=True)
    (path / "config.json").write_bytes((CONFIGS / f"{name}.json").read_bytes())
    launch = Launch(
        model=str(path), label=name, tp=MODELS[name], engine="sglang", python=sys.executable
    )
    return derive(launch, {})


def compile_cold(model: ModelShapes, folder: Path, *, full: bool, jobs: int | None) -> Run:
    folder.mkdir()
    env = {**os.environ, "DG_JIT_NVCC_COMPILER": str(make_timed_nvcc(folder))}
    setting = Setting(
        engine="sglang",
        python=sys.executable,
        env=env,
        run_dir=folder,
        name="benchmark",
        num_jobs=jobs,
        full=full,
        out=folder / "cache",
    )
    begin = time.perf_counter()
    result = compile_shapes(merge_asks([model]), setting)
    seconds = time.perf_counter() - begin
    if result.failed:
        raise SystemExit("\n".join(result.failed))
    entries = frozenset(path.name for path in (folder / "cache" / "cache").iterdir())
    return Run(seconds, read_cpu_s(folder / "times"), entries, result)


def make_timed_nvcc(folder: Path) -> Path:
    """nvcc, and after each call a line of what it cost. The key holds nvcc's release alone."""
    found = os.environ.get("DG_JIT_NVCC_COMPILER") or shutil.which("nvcc")
    if found is None:
        home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
        found = f"{home}/bin/nvcc"
    path = folder / "nvcc"
    path.write_text(
        f'#!/bin/sh\n"{found}" "$@"\nstatus=$?\ntimes >> {folder}/times\nexit $status\n'
    )
    path.chmod(0o755)
    return path


def read_cpu_s(path: Path) -> float:
    """User and system seconds, of the shells and of their children."""
    return sum(
        60 * (int(user_m) + int(system_m)) + float(user_s) + float(system_s)
        for user_m, user_s, system_m, system_s in _TIMES.findall(path.read_text())
    )


def compare(model: ModelShapes, run: Run, folder: Path) -> tuple[set[str], set[str]]:
    """Kernels that were foretold and not compiled, and the other way round, as text."""
    device = run.result.device
    dims, version = device.compiled_dims, device.version
    foretold = set(choose_kernels(model.asks, device.num_sms, dims, version))
    foretold = {kernel for kernel in foretold if kernel.kind != "TRANSPOSE"}
    sources = (folder / "cache" / "cache").glob("*/kernel.cu")
    compiled = {read_kernel(path.read_text()) for path in sources} - {None}
    return {str(each) for each in foretold - compiled}, {str(each) for each in compiled - foretold}


def record(models: list[tuple[ModelShapes, Run, Path]]) -> None:
    document = {
        "machine": get_machine(),
        "device": {**asdict(models[0][1].result.device)},
        "models": [
            {
                **model.to_data(),
                "max_m": model.max_m,
                "kernels": sorted(
                    path.read_text() for path in (folder / "cache" / "cache").glob("*/kernel.cu")
                ),
            }
            for model, _, folder in models
        ],
    }
    RECORD.write_text(json.dumps(document, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--skip-sweep", action="store_true", help="(b) alone")
    parser.add_argument("--jobs", type=int)
    args = parser.parse_args()
    cores = args.jobs or len(os.sched_getaffinity(0))
    rows, done, is_equal = [], [], True
    with tempfile.TemporaryDirectory() as name:
        for label in args.model or MODELS:
            model = get_model(label, Path(name))
            folder = Path(name) / f"{label}-b"
            ours = compile_cold(model, folder, full=False, jobs=args.jobs)
            bound = ours.nvcc_cpu_s / cores
            missing, surprising = compare(model, ours, folder)
            is_equal &= not missing and not surprising
            print(f"{label}: foretold, not compiled {sorted(missing)}")
            print(f"{label}: compiled, not foretold {sorted(surprising)}")
            row = [label, str(len(ours.entries)), f"{ours.seconds:.1f} s", f"{bound:.1f} s"]
            row.append(f"{ours.seconds / bound:.2f}")
            if not args.skip_sweep:
                swept = compile_cold(model, Path(name) / f"{label}-a", full=True, jobs=1)
                is_equal &= swept.entries == ours.entries
                row += [f"{swept.seconds:.1f} s", f"{swept.seconds / ours.seconds:.1f}"]
                row.append("equal" if swept.entries == ours.entries else "DIFFERENT")
            rows.append(row)
            done.append((model, ours, folder))
        record(done)
    head = ["model", "kernels", "ours (b)", "bound", "(b) / bound"]
    head += [] if args.skip_sweep else ["sweep (a)", "(a) / (b)", "entries"]
    print(f"\n{get_machine()}; {done[0][1].result.device.name}\n")
    print_table(head, rows)
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main())

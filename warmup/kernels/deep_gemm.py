"""Compile DeepGEMM's kernels for a set of shapes, on a host with GPUs.

Each worker keeps one CUDA context and lets deep_gemm call nvcc, so nvcc's cost is spread over the
cores. Workers write through a folder of their own whose `cache` leads to the shared one: DeepGEMM
builds in `tmp` and renames whole folders, so what a killed worker leaves is ours alone, and is
removed here.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from warmup.caches.api import get_family
from warmup.kernels.device import Device, probe
from warmup.kernels.m_values import choose_kernels, get_boundaries, get_sweep
from warmup.kernels.pool import CompileJob, CompilePool, JobOutcome, WorkerSpec, get_num_workers
from warmup.kernels.shapes import BLOCK, Ask, Shape
from warmup.words.errors import HostError

HANDLER = Path(__file__).parents[1] / "engine" / "kernels" / "deep_gemm_jobs.py"
# A CUDA context, torch and what deep_gemm keeps, with nvcc beside it: estimates, not measured.
HOST_BYTES_EACH = 4 << 30
DEVICE_BYTES_EACH = 1 << 30


@dataclass(frozen=True)
class Result:
    """num_kernels: that were asked for. failed: one line each. notes: what was done with less."""

    device: Device
    num_workers: int
    num_kernels: int
    failed: tuple[str, ...]
    notes: tuple[str, ...]
    cache_dir: Path


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how to compile.

    python: of the server's environment; env: the server's. run_dir: a folder of this run, for
    the log. name: of this run. num_jobs: processes, None as many as fit. full: the whole sweep.
    out: cache folder, None for the one that the engine looks in. check: may raise to end it all.
    """

    engine: str
    python: str
    env: Mapping[str, str]
    run_dir: Path
    name: str
    num_jobs: int | None = None
    full: bool = False
    out: Path | None = None
    check: Callable[[], None] = lambda: None


def compile_shapes(
    asks: Mapping[Ask, int],
    setting: Setting,
    on_outcome: Callable[[JobOutcome, int, int], None] = lambda *_: None,
) -> Result:
    """asks: each with the largest M of those who ask for it.

    Raises HostError where deep_gemm or a fitting GPU is missing, and what `setting.check` raises;
    either way the cache holds whole entries only.
    """
    log = setting.run_dir / "kernels.log"
    first = WorkerSpec(python=setting.python, handler=HANDLER, args=("0",))
    env = dict(setting.env)
    if setting.engine == "sglang":
        # It decides for DeepGEMM which compiler it takes (0.5.23, compile_utils.py).
        is_nvrtc = env.get("SGLANG_DG_USE_NVRTC", "").lower() in ("1", "true", "yes", "y")
        env["DG_JIT_USE_NVRTC"] = "1" if is_nvrtc else "0"
    with CompilePool([first], env=env, cwd=setting.run_dir, log=log, check=setting.check) as pool:
        device = probe(pool, setting.engine)
        default = device.cache_dir or get_family("deep_gemm").get_roots(setting.env)[0]
        cache_dir = setting.out or Path(default)
        # The pool ends first: nothing builds any more in the folder that is then removed.
        with private_cache(cache_dir, setting.name) as own:
            jobs, notes = make_jobs(asks, device, own, full=setting.full)
            largest = max((get_bytes(ask.shape, max_m) for ask, max_m in asks.items()), default=0)
            # As many as cores, host memory and the devices' memory allow.
            room = max(1, device.free_bytes // (DEVICE_BYTES_EACH + largest)) * device.num_gpus
            count = min(get_num_workers(len(jobs), setting.num_jobs, HOST_BYTES_EACH), room)
            pool.add(
                WorkerSpec(
                    python=setting.python, handler=HANDLER, args=(str(index % device.num_gpus),)
                )
                for index in range(1, count)
            )
            try:
                outcomes = pool.run(jobs, on_outcome)
            finally:
                pool.close()
    failed = [f"{each.job.name}: {each.error}" for each in outcomes if each.error is not None]
    notes += [f"{each.job.name}: its worker died once" for each in outcomes if each.num_tries > 1]
    return Result(device, count, len(jobs), tuple(failed), tuple(notes), cache_dir)


def make_jobs(
    asks: Mapping[Ask, int], device: Device, cache_dir: Path, *, full: bool
) -> tuple[list[CompileJob], list[str]]:
    """One job a kernel; a shape, where the whole sweep is asked for.

    The second list says where the device's memory made the largest M smaller.
    """
    notes, fitting = [], {}
    for ask, max_m in asks.items():
        fits = max_m
        while fits > BLOCK and get_bytes(ask.shape, fits) > device.free_bytes - DEVICE_BYTES_EACH:
            fits //= 2
        fitting[ask] = max(fits, BLOCK)
        if fitting[ask] < max_m:
            told = f"M up to {fitting[ask]} instead of {max_m}"
            notes.append(f"{ask}: {told}, for the device's memory")
    calls: list[tuple[Ask, list[int], float]] = []
    if full:
        calls = [(ask, get_sweep(ask.shape, max_m), 0.0) for ask, max_m in fitting.items()]
    elif None in device.compiled_dims.values():
        # This deep_gemm does not say what its kernels depend on: one M of every stretch.
        calls = [(ask, get_boundaries(ask.shape, max_m), 0.0) for ask, max_m in fitting.items()]
    else:
        chosen = choose_kernels(fitting, device.num_sms, device.compiled_dims, device.version)
        # nvcc unrolls over the block and its stages.
        calls = [
            (ask, [m], float(kernel.block_m * kernel.block_n * kernel.stages))
            for kernel, (ask, m) in chosen.items()
        ]
    jobs = []
    for ask, ms, cost in calls:
        told = f"m={ms[0]}" if len(ms) == 1 else f"{len(ms)} Ms"
        jobs.append(CompileJob(f"{ask} {told}", make_payload(ask, ms, device, cache_dir), cost))
    return jobs, notes


def get_bytes(shape: Shape, m: int) -> int:
    """Device memory of the tensors of one call (engine/kernels/deep_gemm_jobs.py)."""
    groups, rows = (shape.groups, BLOCK) if shape.kind == "MASKED" else (1, m)
    weights = shape.groups * shape.n * shape.k
    # Rows are made in bf16 first; then FP8, scales of 4 bytes for 128, and a bf16 result.
    return weights + groups * rows * (3 * shape.k + shape.k // 32 + 2 * shape.n)


@contextlib.contextmanager
def private_cache(cache_dir: Path, name: str) -> Iterator[Path]:
    """A cache folder to build in, whose finished entries appear in `cache_dir`.

    Raises HostError where that cannot be written.
    """
    own = cache_dir / "tmp" / f"warmup-ci-{name}"
    try:
        (cache_dir / "cache").mkdir(parents=True, exist_ok=True)
        own.mkdir(parents=True, mode=0o700)
        (own / "cache").symlink_to(cache_dir.resolve() / "cache", target_is_directory=True)
    except OSError as error:
        raise HostError(f"cannot write {cache_dir}", cause=error.strerror) from error
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def make_payload(
    ask: Ask, ms: Sequence[int], device: Device, cache_dir: Path, op: str = "compile"
) -> dict[str, object]:
    """What a worker is told (engine/kernels/deep_gemm_jobs.py)."""
    return {
        "op": op,
        "shape": msgspec.to_builtins(ask.shape),
        "num_sms": ask.get_num_sms(device.num_sms),
        "ms": list(ms),
        "cache_dir": str(cache_dir),
    }

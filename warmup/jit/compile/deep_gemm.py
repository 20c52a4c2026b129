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
from typing import Any

from warmup.errors import HostError, WarmupError
from warmup.jit.compile.base import BLOCK, Shape
from warmup.jit.compile.m_values import choose_kernels, get_boundaries, get_sweep
from warmup.jit.compile.pool import Job, Outcome, Pool, WorkerSpec, get_num_workers
from warmup.jit.compile.selection import Kernel
from warmup.jit.registry import get_family

HANDLER = Path(__file__).parents[2] / "engine" / "kernels" / "deep_gemm_jobs.py"
# A CUDA context, torch and what deep_gemm keeps, with nvcc beside it: estimates, not measured.
HOST_BYTES_EACH = 4 << 30
DEVICE_BYTES_EACH = 1 << 30
_SM90 = 90


@dataclass(frozen=True)
class Device:
    """What a worker says of the GPUs (all of one kind) and of deep_gemm."""

    num_gpus: int
    name: str
    num_sms: int
    free_bytes: int
    version: str
    package: str
    compiled_dims: Mapping[str, str | None]


@dataclass(frozen=True)
class Result:
    """num_kernels: that were asked for. failed: one line each. notes: what was done with less."""

    num_kernels: int
    failed: tuple[str, ...]
    notes: tuple[str, ...]


def probe(pool: Pool) -> Device:
    """Raises HostError where deep_gemm does not run or the GPUs are not one kind of SM90."""
    try:
        (outcome,) = pool.run([Job("probe", {"op": "probe"})])
    except WarmupError as error:
        raise HostError(
            "DeepGEMM cannot compile here", cause=error.cause, log=error.log, hint=error.hint
        ) from error
    if outcome.error is not None:
        raise HostError("DeepGEMM cannot compile here", cause=outcome.error)
    told, devices = outcome.answer, outcome.answer["devices"]
    kinds = sorted({(each["name"], each["num_sms"]) for each in devices})
    if len(kinds) > 1:
        raise HostError(
            "the GPUs are of different kinds",
            cause="; ".join(f"{name}, {num_sms} SMs" for name, num_sms in kinds),
            hint="show one kind in CUDA_VISIBLE_DEVICES: kernels depend on the number of SMs",
        )
    if not devices or devices[0]["capability"] != _SM90:
        found = f"capability {devices[0]['capability']}" if devices else "no GPU"
        raise HostError(
            "kernels are chosen for compute capability 9.0 alone", cause=f"here: {found}"
        )
    name, num_sms = kinds[0]
    return Device(
        num_gpus=len(devices),
        name=name,
        num_sms=num_sms,
        free_bytes=min(each["free_bytes"] for each in devices),
        version=told["version"],
        package=told["package"],
        compiled_dims=told["compiled_dims"],
    )


def make_jobs(
    shapes: Mapping[Shape, int], device: Device, *, full: bool
) -> tuple[list[Job], list[str]]:
    """shapes: each with the largest M of those who ask. One job a kernel; a shape, if `full`.

    The second list says where the device's memory made the largest M smaller.
    """
    jobs, notes = [], []
    budget = device.free_bytes - DEVICE_BYTES_EACH
    by_max: dict[int, list[Shape]] = {}
    for shape, max_m in shapes.items():
        fitting = _fit(shape, max_m, budget)
        if fitting < max_m:
            notes.append(f"{shape}: M up to {fitting} instead of {max_m}, for the device's memory")
        by_max.setdefault(fitting, []).append(shape)
    for max_m, group in by_max.items():
        if full:
            jobs += [_make_job(shape, get_sweep(shape, max_m), 0) for shape in group]
            continue
        dims = {kind: found for kind, found in device.compiled_dims.items() if found is not None}
        if len(dims) < len(device.compiled_dims):
            # This deep_gemm does not say what its kernels depend on: one M of every stretch.
            jobs += [_make_job(shape, get_boundaries(shape, max_m), 0) for shape in group]
            continue
        chosen = choose_kernels(group, max_m, device.num_sms, dims)
        jobs += [_make_job(shape, [m], _get_cost(kernel)) for kernel, (shape, m) in chosen.items()]
    return jobs, notes


def get_bytes(shape: Shape, m: int) -> int:
    """Device memory of the tensors of one call (engine/kernels/deep_gemm_jobs.py)."""
    groups, rows = (shape.groups, BLOCK) if shape.kind == "MASKED" else (1, m)
    weights = shape.groups * shape.n * shape.k
    # Rows are made in bf16 first; then FP8, scales of 4 bytes for 128, and a bf16 result.
    return weights + groups * rows * (3 * shape.k + shape.k // 32 + 2 * shape.n)


def compile_jobs(
    jobs: Sequence[Job],
    pool: Pool,
    notes: Sequence[str],
    on_outcome: Callable[[Outcome, int, int], None],
) -> Result:
    """Raises what the pool's check raises; then nothing is left in the shared cache by halves."""
    outcomes = pool.run(jobs, on_outcome)
    failed = [f"{each.job.name}: {each.error}" for each in outcomes if each.error is not None]
    retried = [f"{each.job.name}: its worker died once" for each in outcomes if each.num_tries > 1]
    return Result(len(jobs), tuple(failed), (*notes, *retried))


def make_specs(
    python: str, num_jobs: int, requested: int | None, device: Device, largest: int
) -> list[WorkerSpec]:
    """As many workers as cores, host memory and device memory allow, dealt to the GPUs.

    largest: bytes of the largest job's tensors.
    """
    each = DEVICE_BYTES_EACH + largest
    room = max(1, device.free_bytes // each) * device.num_gpus
    count = min(get_num_workers(num_jobs, requested, HOST_BYTES_EACH), room)
    return [
        WorkerSpec(python=python, handler=HANDLER, args=(str(i % device.num_gpus),))
        for i in range(count)
    ]


@contextlib.contextmanager
def private_cache(env: Mapping[str, str], cache_dir: Path, name: str) -> Iterator[dict[str, str]]:
    """Variables that let workers build in a folder of their own and publish in `cache_dir`.

    Raises HostError where that cannot be written.
    """
    own = cache_dir / "tmp" / f"warmup-ci-{name}"
    try:
        (cache_dir / "cache").mkdir(parents=True, exist_ok=True)
        own.mkdir(parents=True, mode=0o700)
        (own / "cache").symlink_to(cache_dir / "cache", target_is_directory=True)
    except OSError as error:
        raise HostError(f"cannot write {cache_dir}", cause=error.strerror) from error
    try:
        yield {**env, **get_family("deep_gemm").get_variables(own)}
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _fit(shape: Shape, max_m: int, budget: int) -> int:
    """The largest of max_m, max_m/2, … whose tensors fit; at least one block."""
    while max_m > BLOCK and get_bytes(shape, max_m) > budget:
        max_m //= 2
    return max(max_m, BLOCK)


def _make_job(shape: Shape, ms: Sequence[int], cost: float) -> Job:
    sizes: dict[str, Any] = {"kind": shape.kind, "n": shape.n, "k": shape.k, "groups": shape.groups}
    told = f"m={ms[0]}" if len(ms) == 1 else f"{len(ms)} Ms"
    payload = {"op": "compile", "shape": sizes, "ms": list(ms)}
    return Job(f"{shape} {told}", payload, cost)


def _get_cost(kernel: Kernel) -> float:
    """nvcc unrolls over the block and its stages."""
    return kernel.block_m * kernel.block_n * kernel.stages

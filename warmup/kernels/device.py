"""What a compile worker says of the GPUs and of deep_gemm, and whether they will do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from warmup.kernels.pool import CompileJob, CompilePool
from warmup.state.api import find_release
from warmup.words.errors import Cancelled, HostError, WarmupError

_SM90 = 90
OLDEST_NVCC = (12, 3)  # DeepGEMM 54e2261, csrc/jit/compiler.hpp
_CANNOT = "DeepGEMM cannot compile here"


@dataclass(frozen=True)
class Device:
    """What a worker says of the GPUs (all of one kind) and of deep_gemm.

    package: folder of deep_gemm. cache_dir: where the engine's own default is; None where the
    environment tells.
    """

    num_gpus: int
    name: str
    num_sms: int
    free_bytes: int
    version: str
    package: str
    compiled_dims: Mapping[str, str | None]
    cache_dir: str | None


def probe(pool: CompilePool, engine: str) -> Device:
    """Raises HostError where deep_gemm does not run or the GPUs are not one kind of SM90."""
    try:
        (outcome,) = pool.run([CompileJob("probe", {"op": "probe", "engine": engine})])
    except WarmupError as error:
        if isinstance(error, Cancelled):
            raise
        raise HostError(_CANNOT, cause=error.cause, log=error.log, hint=error.hint) from error
    if outcome.error is not None:
        raise HostError(_CANNOT, cause=outcome.error)
    return make_device(outcome.answer)


def make_device(told: Mapping[str, Any]) -> Device:
    """From a worker's answer. Raises HostError for what kernels are not chosen for."""
    devices = told["devices"]
    kinds = sorted({(each["name"], each["num_sms"]) for each in devices})
    if len(kinds) > 1:
        raise HostError(
            "the GPUs are of different kinds",
            cause="; ".join(f"{name}, {num_sms} SMs" for name, num_sms in kinds),
            hint="show one kind in CUDA_VISIBLE_DEVICES: kernels depend on the number of SMs",
        )
    if not devices or devices[0]["capability"] != _SM90:
        found = f"capability {devices[0]['capability']}" if devices else "no GPU"
        raise HostError(_CANNOT, cause=f"kernels are chosen for capability 90 alone; here: {found}")
    _check_nvcc(told["nvcc"])
    name, num_sms = kinds[0]
    return Device(
        num_gpus=len(devices),
        name=name,
        num_sms=num_sms,
        free_bytes=min(each["free_bytes"] for each in devices),
        version=told["version"],
        package=told["package"],
        compiled_dims=told["compiled_dims"],
        cache_dir=told["cache_dir"],
    )


def _check_nvcc(version: str | None) -> None:
    """version: what nvcc says; None where DeepGEMM does without. Raises HostError."""
    if version is None:
        return
    found = find_release(version)
    if found is None:
        raise HostError(_CANNOT, cause=f"no nvcc: {version[:300]}", hint="set CUDA_HOME")
    if found < OLDEST_NVCC:
        told = "nvcc {}.{} is too old".format(*found)
        raise HostError(_CANNOT, cause=told, hint="12.3 is the oldest that it takes, 12.9 good")

"""The GPUs and the driver, from NVML and /proc, and whether they are fit. No CUDA, no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from warmup.state.host_check import HostCheck
from warmup.state.nvcc import find_toolkit, get_nvcc_version
from warmup.state.values import NONE, is_unreadable, make_unreadable

_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_DEVICE_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))

# Cores per SM by (major, minor): CUDA C++ Programming Guide 13.0, arithmetic throughput table
# (FP32 lanes). NVML tells cores, not SMs.
_CORES_PER_SM = {(7, 0): 64, (7, 2): 64, (7, 5): 64, (8, 0): 64}
_CORES_PER_SM_SINCE_8_6 = 128


# nvml.h, nvmlReturn_t: what no second try changes.
_NOT_SUPPORTED = 3
_NO_NVML = (9, 12)  # DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND


class GpuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Each distinct value among this host's GPUs; "none" without a driver."""

    driver: str = NONE
    names: str = NONE
    compute_capability: str = NONE
    sm_count: str = NONE


def read_gpus() -> GpuFacts:
    """Read the facts. NVML is loaded only where a driver is; one that does not answer is told as
    values that could not be read."""
    if not (_DRIVER_FILE.exists() or any(path.exists() for path in _DEVICE_FILES)):
        return GpuFacts()
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            return _ask_nvml()
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        has_none = getattr(error, "value", None) in _NO_NVML
        value = NONE if has_none else make_unreadable(str(error))
        return GpuFacts(
            driver=_read_driver_file() or make_unreadable(str(error)),
            names=value,
            compute_capability=value,
            sm_count=value,
        )


def _ask_nvml() -> GpuFacts:
    import pynvml

    names: set[str] = set()
    capabilities: set[str] = set()
    sms: set[str] = set()
    for index in range(pynvml.nvmlDeviceGetCount()):
        device = pynvml.nvmlDeviceGetHandleByIndex(index)
        names.add(_text(pynvml.nvmlDeviceGetName(device)))
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(device)
        capabilities.add(f"{major}.{minor}")
        per_sm = _CORES_PER_SM.get((major, minor), _CORES_PER_SM_SINCE_8_6)
        try:
            sms.add(str(pynvml.nvmlDeviceGetNumGpuCores(device) // per_sm))
        except pynvml.NVMLError as error:
            if getattr(error, "value", None) != _NOT_SUPPORTED:
                raise
            sms.add("not told")  # by a vGPU, or an old driver: that stays so
    return GpuFacts(
        driver=_text(pynvml.nvmlSystemGetDriverVersion()),
        names=_join(names),
        compute_capability=_join(capabilities),
        sm_count=_join(sms),
    )


def _read_driver_file() -> str | None:
    """`NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  …` → `580.95.05`."""
    try:
        match = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", _DRIVER_FILE.read_text())
    except OSError:
        return None
    return match.group(1) if match else None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value  # bytes until nvidia-ml-py 11.5


def _join(values: set[str]) -> str:
    return ", ".join(sorted(values)) or NONE


def check_driver(env: Mapping[str, str]) -> list[HostCheck]:
    """A host without a driver is fit: the reference engine serves on a CPU."""
    facts = read_gpus()
    if facts.driver == NONE:
        return [HostCheck("ok", "driver", "no NVIDIA driver: models are served on the CPU")]
    if facts.names == NONE or is_unreadable(facts.names):
        return [
            HostCheck(
                "fail",
                "driver",
                f"the driver is there ({facts.driver}), but NVML shows no GPU",
                "compare `nvidia-smi` here and outside the container; a driver upgraded under a"
                " running host needs a reboot",
            )
        ]
    detail = f"{facts.driver}, {facts.names}, compute capability {facts.compute_capability}"
    return [HostCheck("ok", "driver", detail), _check_nvcc(env)]


def _check_nvcc(env: Mapping[str, str]) -> HostCheck:
    toolkit = find_toolkit(env)
    if toolkit.nvcc == NONE:
        hint = "install the CUDA toolkit, or set CUDA_HOME: DeepGEMM and FlashInfer compile with it"
        return HostCheck("warn", "nvcc", "none found", hint)
    version = get_nvcc_version(toolkit.nvcc)
    if is_unreadable(version):
        return HostCheck("warn", "nvcc", f"{toolkit.nvcc}: {version}", "repair the CUDA toolkit")
    return HostCheck("ok", "nvcc", f"{version} at {toolkit.nvcc}")

"""The profile of a real GPU, as its driver tells it, and how it differs from one of ours.

CUDA Driver API 13.0 (cuDeviceGetAttribute over every CUdevice_attribute) by ctypes, and NVML.
Nothing is launched; no context is made.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

from warmup.target.profile import SCHEMA, Profile, read_attribute_numbers
from warmup.words.errors import HostError

_HINT = "run this on a machine with an NVIDIA GPU"
# What a machine has, and a kind of GPU does not.
_OF_THE_MACHINE = ("cuda_driver", "driver", "schema", "sources")


def capture(index: int = 0) -> Profile:
    """The GPU of that index. Raises HostError where there is none, or a call fails."""
    import pynvml

    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise HostError("there is no CUDA driver here", cause=str(error), hint=_HINT) from error
    _call(cuda, "cuInit", 0)
    device, memory, version = ctypes.c_int(), ctypes.c_size_t(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    _call(cuda, "cuDeviceGet", ctypes.byref(device), index)
    _call(cuda, "cuDeviceGetName", name, len(name), device)
    _call(cuda, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    _call(cuda, "cuDriverGetVersion", ctypes.byref(version))
    try:
        pynvml.nvmlInit()
        try:
            told = _ask_nvml(pynvml, pynvml.nvmlDeviceGetHandleByIndex(index))
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise HostError("NVML does not answer", cause=str(error), hint=_HINT) from error
    return Profile(
        schema=SCHEMA,
        name=name.value.decode(),
        memory_bytes=memory.value,
        cuda_driver=version.value,
        attributes=_read_attributes(cuda, device),
        sources={"all": "captured by `doctor --profile`: libcuda and NVML of this machine"},
        **told,
    )


def _ask_nvml(nvml: Any, handle: Any) -> dict[str, Any]:
    clocks = (
        nvml.NVML_CLOCK_GRAPHICS,
        nvml.NVML_CLOCK_SM,
        nvml.NVML_CLOCK_MEM,
        nvml.NVML_CLOCK_VIDEO,
    )
    return {
        "nvml_memory_bytes": nvml.nvmlDeviceGetMemoryInfo(handle).total,
        "driver": nvml.nvmlSystemGetDriverVersion(),
        "clocks_mhz": tuple(nvml.nvmlDeviceGetMaxClockInfo(handle, clock) for clock in clocks),
        "power_limit_mw": nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle),
    }


def _read_attributes(cuda: ctypes.CDLL, device: ctypes.c_int) -> dict[str, int]:
    """Those that this driver knows: an older one refuses the newer numbers."""
    found = {}
    for name, number in read_attribute_numbers().items():
        value = ctypes.c_int()
        if cuda.cuDeviceGetAttribute(ctypes.byref(value), number, device) == 0:
            found[name] = value.value
    return found


def _call(cuda: ctypes.CDLL, name: str, *args: Any) -> None:
    error = getattr(cuda, name)(*args)
    if error != 0:
        text = ctypes.c_char_p()
        cuda.cuGetErrorName(error, ctypes.byref(text))
        said = text.value.decode() if text.value else "unknown"
        raise HostError(f"{name} fails", cause=f"CUDA error {error} ({said})", hint=_HINT)


def compare_profiles(ours: Profile, seen: Profile) -> Iterator[str]:
    """A line per difference, by name: `MULTIPROCESSOR_COUNT: profile 132, this GPU 114`."""
    for name in Profile.__struct_fields__:
        if name in _OF_THE_MACHINE or name == "attributes":
            continue
        if getattr(ours, name) != getattr(seen, name):
            yield f"{name}: profile {getattr(ours, name)}, this GPU {getattr(seen, name)}"
    for name in dict.fromkeys([*ours.attributes, *seen.attributes]):
        old, new = ours.attributes.get(name, "none"), seen.attributes.get(name, "none")
        if old != new:
            yield f"{name}: profile {old}, this GPU {new}"

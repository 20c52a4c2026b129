"""See the GPUs' memory come back after a server ended, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from warmup.supervise.protocols import Waiter
from warmup.supervise.tree import proc
from warmup.words.errors import WarmupError

_POLL_S = 0.1
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Gpu:
    """One device as NVML shows it. pids: processes that hold memory, as far as it may tell."""

    index: int
    uuid: str
    name: str
    used_bytes: int
    total_bytes: int
    pids: tuple[int, ...] = field(default=())


def read_gpus() -> list[Gpu]:
    """All GPUs of this host, by index; [] where there is no driver. Never raises for that."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        found = (_find_gpu(index) for index in range(pynvml.nvmlDeviceGetCount()))
        return [gpu for gpu in found if gpu is not None]
    except pynvml.NVMLError:  # the driver went away under us
        return []
    finally:
        pynvml.nvmlShutdown()


def select_gpus(gpus: list[Gpu], names: Sequence[str]) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES would mean: an index, or a uuid that may be cut short.

    A MIG slice is none of them: its memory is its GPU's, which it shares.
    """
    return [
        gpu
        for gpu in gpus
        if any(name == str(gpu.index) or gpu.uuid.startswith(name) for name in names)
    ]


def wait_until_free(
    before: list[Gpu],
    waiter: Waiter,
    *,
    timeout_s: float,
    tolerance_bytes: int = 256 * _MIB,
    read: Callable[[], list[Gpu]] = read_gpus,
) -> float:
    """Wait until no GPU holds more than `before` (plus the tolerance); seconds that it took.

    Raises `WarmupError` that names each GPU, what it still holds and who, when `timeout_s` is
    over or a GPU is gone; `Cancelled` when the waiter says so.
    """
    began = time.monotonic()
    while before:
        held = _list_held(before, read(), tolerance_bytes)
        if not held:
            break
        if time.monotonic() - began >= timeout_s:
            raise WarmupError(
                "GPU memory was not given back",
                cause="; ".join(held),
                hint="end those processes; `warmup-ci doctor` lists what holds a GPU",
            )
        waiter.check_cancelled()
        waiter.wait(_POLL_S)
    return time.monotonic() - began


def _list_held(before: list[Gpu], now: list[Gpu], tolerance_bytes: int) -> list[str]:
    present = {gpu.uuid: gpu for gpu in now}
    held = []
    for old in before:
        gpu = present.get(old.uuid)
        if gpu is None:
            held.append(f"GPU {old.index} ({old.name}) is gone")
        elif gpu.used_bytes > old.used_bytes + tolerance_bytes:
            held.append(_describe(gpu, old))
    return held


def _describe(gpu: Gpu, old: Gpu) -> str:
    """In containers NVML shows the host's pids, or none: then the holders cannot be named."""
    pids = [pid for pid in gpu.pids if pid not in old.pids]
    holders = ", ".join(f"pid {pid} ({proc.get_command(pid)})" for pid in pids)
    more = (gpu.used_bytes - old.used_bytes) // _MIB
    return (
        f"GPU {gpu.index} ({gpu.name}) holds {more} MiB more than before, "
        f"by {holders or 'processes that cannot be seen from here'}"
    )


def _find_gpu(index: int) -> Gpu | None:
    """None for a device that is lost, or that has no memory of its own to account for."""
    import pynvml

    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        return None
    return Gpu(
        index=index,
        uuid=_decode(pynvml.nvmlDeviceGetUUID(handle)),
        name=_decode(pynvml.nvmlDeviceGetName(handle)),
        used_bytes=int(memory.used),
        total_bytes=int(memory.total),
        pids=_read_pids(handle),
    )


def _read_pids(handle: object) -> tuple[int, ...]:
    import pynvml

    try:
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except pynvml.NVMLError:  # not supported on this device, or not permitted
        return ()
    return tuple(sorted({int(process.pid) for process in processes}))


def _decode(text: str | bytes) -> str:
    """nvidia-ml-py answered bytes before 11.5."""
    return text.decode() if isinstance(text, bytes) else text

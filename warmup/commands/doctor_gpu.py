"""`doctor`'s checks of driver, GPUs and what holds their memory."""

from __future__ import annotations

from collections.abc import Mapping

from warmup.commands.doctor_finding import Finding
from warmup.state.gpus import NONE, read_gpus
from warmup.state.nvcc import find_toolkit, get_nvcc_version

_MIB = 1 << 20


def check_driver(env: Mapping[str, str]) -> list[Finding]:
    """No driver is no fault: the reference engine serves on a CPU."""
    facts = read_gpus()
    if facts.driver == NONE:
        return [Finding("ok", "driver", "no NVIDIA driver: models are served on the CPU")]
    if facts.names == NONE:
        return [
            Finding(
                "fail",
                "driver",
                f"the driver is there ({facts.driver}), but NVML shows no GPU",
                "compare `nvidia-smi` here and outside the container; a driver upgraded under a"
                " running host needs a reboot",
            )
        ]
    detail = f"{facts.driver}, {facts.names}, compute capability {facts.compute_capability}"
    return [Finding("ok", "driver", detail), _check_nvcc(env)]


def check_gpu_processes() -> list[Finding]:
    """Orphans have held some 100 GB a GPU (sglang#23627); whose they are is for `reap` to know."""
    from warmup.supervise.gpu_memory import read_gpus as read_memory
    from warmup.supervise.tree.proc import get_command

    findings = []
    gpus = read_memory()
    for gpu in gpus:
        holders = ", ".join(f"pid {pid} ({get_command(pid)})" for pid in gpu.pids)
        if holders or gpu.used_bytes > max(1 << 30, gpu.total_bytes // 20):
            detail = f"{gpu.used_bytes // _MIB} of {gpu.total_bytes // _MIB} MiB of GPU {gpu.index}"
            detail += f" are held by {holders or 'processes that cannot be seen from here'}"
            hint = "`warmup-ci reap` ends what earlier runs left; other jobs may own the rest"
            findings.append(Finding("warn", "gpu processes", detail, hint))
    if gpus and not findings:
        findings.append(Finding("ok", "gpu processes", f"none on {len(gpus)} GPUs"))
    return findings


def _check_nvcc(env: Mapping[str, str]) -> Finding:
    toolkit = find_toolkit(env)
    if toolkit.nvcc == NONE:
        hint = "install the CUDA toolkit, or set CUDA_HOME: DeepGEMM and FlashInfer compile with it"
        return Finding("warn", "nvcc", "none found", hint)
    version = get_nvcc_version(toolkit.nvcc)
    if version.startswith("unreadable"):
        return Finding("warn", "nvcc", f"{toolkit.nvcc}: {version}", "repair the CUDA toolkit")
    return Finding("ok", "nvcc", f"{version} at {toolkit.nvcc}")

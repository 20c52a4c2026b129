"""Is this host fit to warm models: driver, GPUs, nvcc."""

from __future__ import annotations

from collections.abc import Mapping

from warmup.state.gpus import read_gpus
from warmup.state.host_check import HostCheck
from warmup.state.nvcc import find_toolkit, get_nvcc_version
from warmup.state.values import NONE, is_unreadable


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

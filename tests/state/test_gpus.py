from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from warmup.state import gpus
from warmup.state.gpus import GpuFacts, read_gpus


class FakeNvml(SimpleNamespace):
    """NVML as nvidia-ml-py 13 shows it; no GPU can be had in CI (tests/gpu asks a real one)."""

    class NVMLError(Exception):
        pass

    def __init__(self, devices: list[tuple[str, int, int, int]]) -> None:
        super().__init__(is_open=False)
        self.devices = devices

    def nvmlInit(self) -> None:
        if not self.devices:
            raise self.NVMLError("Driver/library version mismatch")
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, index: int) -> str:
        return self.devices[index][0]

    def nvmlDeviceGetCudaComputeCapability(self, index: int) -> tuple[int, int]:
        return self.devices[index][1:3]

    def nvmlDeviceGetNumGpuCores(self, index: int) -> int:
        return self.devices[index][3]

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.95.05"


@pytest.fixture
def driver_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "version"
    path.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23\n")
    monkeypatch.setattr(gpus, "_DRIVER_FILE", path)
    return path


def use(monkeypatch: pytest.MonkeyPatch, devices: list[tuple[str, int, int, int]]) -> FakeNvml:
    nvml = FakeNvml(devices)
    monkeypatch.setitem(__import__("sys").modules, "pynvml", nvml)
    return nvml


def test_no_driver_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_DRIVER_FILE", tmp_path / "none")
    monkeypatch.setattr(gpus, "_DEVICE_FILES", ())
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)  # an import would fail
    assert read_gpus() == GpuFacts()


def test_eight_alike(driver_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = use(monkeypatch, [("NVIDIA H200", 9, 0, 16896)] * 8)
    assert read_gpus() == GpuFacts(
        driver="580.95.05", names="NVIDIA H200", compute_capability="9.0", sm_count="132"
    )
    assert not nvml.is_open


def test_a_mixed_host_names_each_kind_once(
    driver_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, [("NVIDIA H200", 9, 0, 16896), ("NVIDIA A100", 8, 0, 6912)] * 2)
    facts = read_gpus()
    assert facts.names == "NVIDIA A100, NVIDIA H200"
    assert facts.compute_capability == "8.0, 9.0"
    assert facts.sm_count == "108, 132"


def test_a_driver_that_nvml_does_not_fit(
    driver_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, [])
    told = "unreadable: Driver/library version mismatch"
    assert read_gpus() == GpuFacts(
        driver="580.95.05", names=told, compute_capability=told, sm_count=told
    )
    driver_file.write_text("what?")
    assert read_gpus().driver == "unreadable: Driver/library version mismatch"

from __future__ import annotations

from pathlib import Path

import pytest

from warmup.state import gpus
from warmup.state.gpus import GpuFacts
from warmup.state.host_check import HostCheck


def get_levels(found: list[HostCheck]) -> dict[str, str]:
    return {each.name: each.level for each in found}


@pytest.mark.parametrize(
    ("facts", "levels"),
    [
        (GpuFacts(), {"driver": "ok"}),
        (GpuFacts(driver="580.95.05"), {"driver": "fail"}),
        (
            GpuFacts(driver="580.95.05", names="NVIDIA H200", compute_capability="9.0"),
            {"driver": "ok", "nvcc": "warn"},
        ),
    ],
)
def test_drivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: GpuFacts, levels: dict[str, str]
) -> None:
    monkeypatch.setattr(gpus, "read_gpus", lambda: facts)
    env = {"CUDA_HOME": str(tmp_path)}
    assert get_levels(gpus.check_driver(env)) == levels

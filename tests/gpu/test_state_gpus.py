"""What NVML says here, held against what the driver's own tool says."""

from __future__ import annotations

import subprocess

import pytest

from warmup.state.gpus import read_gpus

pytestmark = [pytest.mark.gpu, pytest.mark.reads_driver]


def ask(field: str) -> set[str]:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return set(done.stdout.split("\n")) - {""}


def test_the_facts_are_nvidia_smis() -> None:
    facts = read_gpus()
    assert {facts.driver} == ask("driver_version")
    assert set(facts.names.split(", ")) == ask("name")
    assert set(facts.compute_capability.split(", ")) == ask("compute_cap")


def test_sms_of_an_h200() -> None:
    facts = read_gpus()
    if facts.names != "NVIDIA H200":
        pytest.skip(f"known for an H200, not for {facts.names}")
    assert facts.sm_count == "132"  # NVIDIA H200 datasheet: 132 SMs, 16896 FP32 cores

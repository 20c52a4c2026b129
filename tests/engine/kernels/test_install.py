import os
import subprocess
import sys

import pytest
import torch

from warmup.engine.args import ServerArgs
from warmup.engine.kernels.install import install
from warmup.errors import HostError


def _run_interpreted(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.engine.kernels.interpreted", *argv],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_fused_modules_equal_the_libraries_own() -> None:
    done = _run_interpreted()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 9


def test_the_comparison_sees_a_spoiled_kernel() -> None:
    assert _run_interpreted("spoil").returncode == 1


def test_on_a_cpu_nothing_is_replaced() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    assert install(model, ServerArgs(model="none")) == {}


def test_fp8_on_a_cpu_is_refused_with_the_reason() -> None:
    with pytest.raises(HostError, match="SM90"):
        install(torch.nn.Sequential(torch.nn.Linear(4, 4)), ServerArgs(model="none", fp8=True))

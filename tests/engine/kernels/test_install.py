import os
import subprocess
import sys

import pytest
import torch

from warmup.engine.args import ServerArgs
from warmup.engine.kernels.install import install
from warmup.words.errors import HostError


def test_fused_modules_equal_the_libraries_own_and_spoiled_ones_do_not() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.kernels.interpreted"],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 18


def test_on_a_cpu_nothing_is_replaced() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    assert install(model, ServerArgs(model="none")) == {}


def test_fp8_on_a_cpu_is_refused_with_the_reason() -> None:
    with pytest.raises(HostError, match="SM90"):
        install(torch.nn.Sequential(torch.nn.Linear(4, 4)), ServerArgs(model="none", fp8=True))

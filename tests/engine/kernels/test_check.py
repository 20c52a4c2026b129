import math
import os
import subprocess
import sys

import torch

from tests.engine.kernels.check import get_error


def test_every_kernel_equals_its_plain_form_in_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.engine.kernels.check"],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" ok\n") == 22


def test_the_error_measure_sees_a_wrong_result() -> None:
    exact = torch.randn(50)
    assert get_error(exact, exact) == 0
    assert get_error(exact * 1.02, exact) > 1e-2
    assert get_error(exact * math.nan, exact) == math.inf

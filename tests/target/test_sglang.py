"""Real sglang 0.5.23, built for CUDA 13, on the null device: how far docs/target.md says.

Opt-in: `--target-sglang-python` with such an interpreter (docs/target.md has what to install).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.target.test_hook import run

pytestmark = pytest.mark.timeout(1500)

# What sglang calls of its libraries: a norm of the CuTe DSL's, attention, routing.
_KERNELS = """
import torch
import sgl_kernel
from sgl_kernel.flash_attn import flash_attn_varlen_func
def make(*shape, dtype=torch.bfloat16):
    return torch.zeros(shape, dtype=dtype, device="cuda")
x, query, key, ends = make(4, 4096), make(64, 32, 128), make(64, 8, 128), make(2, dtype=torch.int32)
print(*sgl_kernel.rmsnorm(x, make(4096)).shape)
print(*sgl_kernel.silu_and_mul(x).shape)
print(*flash_attn_varlen_func(query, key, key, ends, ends, 64, 64, causal=True).shape)
weights, experts = make(4, 8, dtype=torch.float), make(4, 8, dtype=torch.int32)
sgl_kernel.topk_softmax(weights, experts, make(4, 128, dtype=torch.float), True)
torch.cuda.synchronize()
"""


@pytest.fixture(scope="module")
def sglang_python(request: pytest.FixtureRequest) -> Path:
    found: Path | None = request.config.getoption("--target-sglang-python")
    if found is None:
        pytest.skip("needs --target-sglang-python (docs/target.md)")
    return found.absolute()


def test_kernels_of_its_libraries_are_called(tmp_path: Path, sglang_python: Path) -> None:
    done = run(tmp_path, str(sglang_python), "-c", _KERNELS, target="h200x1")
    assert done.stdout.splitlines() == ["4 4096", "4 2048", "64 32 128"], done.stderr
    assert "own-runtime" not in (tmp_path / "h200x1.trace").read_text()

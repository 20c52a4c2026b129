"""The derivation held against the installed DeepGEMM, on the null device. Opt-in: CUDA wheels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.program import call_json
from tests.kernels.models import write_model

pytestmark = [pytest.mark.target, pytest.mark.timeout(300)]

MODELS = {
    "deepseek-v3": 8,
    "deepseek-v3.2": 8,
    "glm-5-fp8": 8,
    "mimo-v2-flash": 4,
    "qwen3-30b-a3b-fp8": 1,
    "qwen3-8b-fp8": 2,
}
# Of sgl-deep-gemm 0.2.3.post2 and 0.2.5 alike, for 132 SMs and for half of them.
KERNELS = 231


def test_selection_and_keys_are_the_librarys(tmp_path: Path, python: Path) -> None:
    models = [f"{write_model(tmp_path / name, name)}:{tp}" for name, tp in MODELS.items()]
    document = call_json(tmp_path, "kernels", "list", *models, "--check", str(python))
    found = document["check"]
    assert (found["differences"], found["wrong_keys"]) == ([], [])
    assert found["kernels"] == KERNELS and found["calls"] > 10_000
    assert document["exit_code"] == 0

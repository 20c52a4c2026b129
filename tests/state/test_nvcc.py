from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from warmup.state.nvcc import Toolkit, find_toolkit, get_nvcc_version

ANSWER = """nvcc: NVIDIA (R) Cuda compiler driver
Cuda compilation tools, release 12.9, V12.9.86
"""


def make_nvcc(home: Path, answer: str = ANSWER, status: int = 0) -> str:
    path = home / "bin" / "nvcc"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\ncat <<'EOF'\n{answer}EOF\nexit {status}\n")
    path.chmod(0o755)
    return str(path)


def test_the_variables_in_torchs_order(tmp_path: Path) -> None:
    one, two, three = (make_nvcc(tmp_path / name) for name in ("one", "two", "three"))
    env = {"CUDA_HOME": f"{tmp_path}/one", "CUDA_PATH": f"{tmp_path}/two"}
    env["PATH"] = f"relative:{tmp_path}/three/bin"
    assert find_toolkit(env) == Toolkit(f"{tmp_path}/one", one)
    env["CUDA_HOME"] = ""
    assert find_toolkit(env) == Toolkit(f"{tmp_path}/two", two)
    del env["CUDA_PATH"]
    assert find_toolkit(env) == Toolkit(f"{tmp_path}/three", three)


def test_the_spelling_is_kept(tmp_path: Path) -> None:
    make_nvcc(tmp_path / "cuda-12.9")
    (tmp_path / "cuda").symlink_to("cuda-12.9")
    assert find_toolkit({"CUDA_HOME": f"{tmp_path}/cuda"}).home == f"{tmp_path}/cuda"


def test_a_home_without_a_compiler(tmp_path: Path) -> None:
    assert find_toolkit({"CUDA_HOME": str(tmp_path)}) == Toolkit(str(tmp_path), "none")
    assert find_toolkit({"CUDA_HOME": f"{tmp_path}/none"}) == Toolkit("none", "none")
    assert get_nvcc_version("none") == "none"


def test_versions(tmp_path: Path) -> None:
    assert get_nvcc_version(make_nvcc(tmp_path / "good")) == "12.9.86"
    assert get_nvcc_version(make_nvcc(tmp_path / "bad", "what?\n", 3)) == (
        "unreadable: exit status 3"
    )
    assert get_nvcc_version(str(tmp_path / "none")) == "unreadable: No such file or directory"


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no CUDA toolkit here")
def test_the_real_one() -> None:
    nvcc = shutil.which("nvcc")
    assert nvcc is not None
    assert re.fullmatch(r"\d+\.\d+\.\d+", get_nvcc_version(nvcc))

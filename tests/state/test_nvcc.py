from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from warmup.state import nvcc
from warmup.state.nvcc import Toolkit, find_toolkit, get_nvcc_text, get_nvcc_version
from warmup.words.errors import HostError

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
    odd = get_nvcc_version(make_nvcc(tmp_path / "odd", "what?\n"))
    assert odd.startswith("unknown: "), "it answered, so that is what it is"
    assert odd == get_nvcc_version(make_nvcc(tmp_path / "as-odd", "what?\n"))


def test_one_that_does_not_answer_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a starved host: 30 s passed before it had started (F5)."""
    path = tmp_path / "nvcc"
    path.write_text("#!/bin/sh\nexec sleep 60\n")
    path.chmod(0o755)
    monkeypatch.setattr(nvcc, "_TIMEOUT_S", 0.2)
    assert get_nvcc_version(str(path)) == "unreadable: silent for 0.2 s"
    with pytest.raises(HostError, match="does not answer"):
        get_nvcc_text(str(path))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no CUDA toolkit here")
def test_the_real_one() -> None:
    found = shutil.which("nvcc")
    assert found is not None
    assert re.fullmatch(r"\d+\.\d+\.\d+", get_nvcc_version(found))

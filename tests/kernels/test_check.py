"""The derivation held against a library: here a stand-in, in tests/target the installed one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.commands.program import call, call_json
from tests.kernels.models import SHAPES, V3, write_model
from tests.kernels.test_deep_gemm import FAKES, H200, ROOT
from warmup.kernels.check import LibraryCheck, compare_with_library
from warmup.kernels.shapes import Ask, Shape
from warmup.kernels.work import begin
from warmup.state.home import Home
from warmup.words.errors import HostError

WIDE = Shape("NORMAL", 2112, 7168)


def compare(folder: Path, *shapes: Shape, full: bool = False, **env: str) -> LibraryCheck:
    there = {
        **os.environ,
        "PYTHONPATH": f"{FAKES}:{ROOT}",
        "FAKE_GPUS": json.dumps([H200]),
        "FAKE_CALLS": str(folder / "calls"),
        "DG_JIT_CACHE_DIR": str(folder / "a cache that is in use"),
        **env,
    }
    asks = {Ask(shape): 1024 for shape in shapes} | {Ask(WIDE, True): 512}
    with begin(Home(folder / "home")) as work:
        return compare_with_library(asks, sys.executable, there, work, full=full)


def test_a_library_that_takes_the_same_kernels(tmp_path: Path) -> None:
    found = compare(tmp_path, *SHAPES, Shape("TRANSPOSE", 1, 7168))
    assert found.is_equal and (found.differences, found.wrong_keys) == ((), ())
    assert (found.deep_gemm, found.num_sms) == ("0.2.5", 132)
    assert found.calls == len((tmp_path / "calls").read_text().splitlines()) > found.kernels > 20
    # Nothing is left of what it wrote, and nothing was written where it writes in earnest.
    (run,) = (tmp_path / "home" / "runs").iterdir()
    assert not list(run.glob("asked-*")) and not (tmp_path / "a cache that is in use").exists()


def test_one_that_compiles_n_in_is_told_call_by_call(tmp_path: Path) -> None:
    """The very difference that made 892 of 26 906 calls disagree."""
    found = compare(tmp_path, WIDE, FAKE_SELECTS_AS="0.1.5")
    assert not found.is_equal and found.differences and not found.wrong_keys
    wide = [each for each in found.differences if f"n={WIDE.n}" in each.ours]
    assert wide and all("block_m=128" in each.ours for each in wide)
    assert all(each.theirs == each.ours.replace(f" n={WIDE.n}", " n=0") for each in wide)


def test_every_m_is_asked_with_full(tmp_path: Path) -> None:
    found = compare(tmp_path, WIDE, full=True)
    assert found.calls == 1024 + 512 and found.is_equal


def test_a_key_of_another_compiler_is_named(tmp_path: Path) -> None:
    found = compare(tmp_path, FAKE_NVCC="13.9")
    assert not found.differences and len(found.wrong_keys) == found.kernels


def test_a_library_that_refuses_is_told_with_the_shape(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="DeepGEMM refuses CONTIG n=512 k=7168 groups=257") as told:
        compare(tmp_path, SHAPES[3], FAKE_DIES_AT="512", FAKE_CALLS="/nonexistent/calls")
    assert told.value.log is not None


def test_an_interpreter_without_deep_gemm(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", V3)
    done = call(tmp_path, "kernels", "list", f"{model}:8", "--check", sys.executable)
    assert done.returncode == 2 and "has no DeepGEMM to ask" in done.stderr, done.stderr
    assert "sgl-deep-gemm is not installed there" in done.stderr


@pytest.mark.parametrize(
    ("cuda", "told", "status"),
    [
        ("None", "no CUDA (it is a CPU build)", 2),
        ("'12.9'", "CUDA 12.9; CUDA 13 is wanted", 2),
        ("'13.0'", "a real CUDA driver is visible", 3),
    ],
)
def test_what_a_null_device_cannot_serve(tmp_path: Path, cuda: str, told: str, status: int) -> None:
    for name in ("torch", "deep_gemm"):
        (tmp_path / "packages" / name).mkdir(parents=True)
        (tmp_path / "packages" / name / "__init__.py").touch()
    version = f"__version__ = '2.14.1'\ncuda: str | None = {cuda}\n"
    (tmp_path / "packages" / "torch" / "version.py").write_text(version)
    model = write_model(tmp_path / "model", V3)
    command = ("kernels", "list", f"{model}:8", "--check", sys.executable)
    (tmp_path / "libcuda.so.1").touch()
    env = {"PYTHONPATH": f"{tmp_path / 'packages'}:{ROOT}", "LD_LIBRARY_PATH": str(tmp_path)}
    done = call(tmp_path, *command, **env)
    assert done.returncode == status and told in done.stderr, done.stderr


@pytest.mark.parametrize("python", ["/nonexistent/python", "/etc/passwd"])
def test_an_interpreter_that_is_none(tmp_path: Path, python: str) -> None:
    model = write_model(tmp_path / "model", V3)
    document = call_json(tmp_path, "kernels", "list", f"{model}:8", "--check", python)
    assert document["exit_code"] == 2 and python in document["error"]["what"]


def test_models_that_nothing_is_derived_of(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", V3, architectures=["LlamaForCausalLM"])
    done = call(tmp_path, "kernels", "list", str(model), "--check", sys.executable)
    assert done.returncode == 2 and "no model's kernels can be derived" in done.stderr


def test_the_shapes_are_told_for_a_target(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", V3)
    done = call(tmp_path, "kernels", "list", f"{model}:8", "--target", "b200")
    assert done.returncode == 0 and "for 148 SMs (NVIDIA B200)" in done.stdout, done.stdout

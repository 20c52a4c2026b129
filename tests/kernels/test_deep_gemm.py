from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kernels.models import SHAPES
from warmup.kernels.deep_gemm import (
    Result,
    Setting,
    compile_shapes,
    get_bytes,
    make_jobs,
    private_cache,
)
from warmup.kernels.device import Device
from warmup.kernels.shapes import Ask, Shape
from warmup.words.errors import Cancelled, HostError

FAKES = Path(__file__).parent / "fake_gpu"
ROOT = Path(__file__).parents[2]
H200: dict[str, Any] = {"name": "NVIDIA H200", "major": 9, "sms": 132, "free": 140 << 30}
MAX_M = 1024


def compile_with_fakes(
    folder: Path, shapes: dict[Shape, int], *gpus: dict[str, Any], **changes: Any
) -> Result:
    folder.mkdir(exist_ok=True)
    env = {
        **os.environ,
        "PYTHONPATH": f"{FAKES}:{ROOT}",
        "FAKE_GPUS": json.dumps(gpus or [H200]),
        "FAKE_CALLS": str(folder / "calls"),
        "CUDA_HOME": str(make_cuda_home(folder)),
        **changes.pop("env", {}),
    }
    setting = {
        "engine": "sglang", "python": sys.executable, "env": env, "run_dir": folder,
        "name": "x", "num_jobs": 2, "out": folder / "cache", **changes,
    }  # fmt: skip
    return compile_shapes(
        {Ask(shape): max_m for shape, max_m in shapes.items()}, Setting(**setting)
    )


def make_cuda_home(folder: Path) -> Path:
    """One whose nvcc tells its version, which is all that the stand-in needs."""
    nvcc = folder / "cuda-home" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True, exist_ok=True)
    nvcc.write_text("#!/bin/sh\necho 'release 13.0, V13.0.88'\n")
    nvcc.chmod(0o755)
    return nvcc.parent.parent


def get_device(compiled_dims: dict[str, str | None]) -> Device:
    return Device(1, "NVIDIA H200", 132, 1 << 40, "1", "/x/deep_gemm", compiled_dims, None)


def get_entries(folder: Path) -> set[str]:
    return {path.name for path in (folder / "cache" / "cache").iterdir()}


def get_calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_the_chosen_ms_leave_the_entries_of_the_sweep(tmp_path: Path) -> None:
    shapes = dict.fromkeys(SHAPES, MAX_M)
    chosen = compile_with_fakes(tmp_path / "chosen", shapes)
    swept = compile_with_fakes(tmp_path / "swept", shapes, full=True)
    assert (chosen.failed, swept.failed) == ((), ())
    assert get_entries(tmp_path / "chosen") == get_entries(tmp_path / "swept")
    assert chosen.num_kernels == len(get_entries(tmp_path / "chosen"))
    assert 20 * len(get_calls(tmp_path / "chosen")) < len(get_calls(tmp_path / "swept"))


def test_each_kernel_is_asked_for_once_and_nothing_else_is_left(tmp_path: Path) -> None:
    shapes = {SHAPES[0]: MAX_M, Shape("NORMAL", 4096, 7168): MAX_M}
    result = compile_with_fakes(tmp_path, shapes)
    assert len(get_calls(tmp_path)) == result.num_kernels
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []
    assert result.device.version == "0.2.5"


def test_scales_of_one_width_are_transposed_by_one_kernel(tmp_path: Path) -> None:
    shapes = {Shape("TRANSPOSE", 1, k): MAX_M for k in (768, 7168)}
    result = compile_with_fakes(tmp_path, shapes)
    assert (result.failed, result.num_kernels) == ((), 2)
    assert set(get_calls(tmp_path)) == {"TRANSPOSE k=768 m=1", "TRANSPOSE k=7168 m=1"}
    assert len(get_entries(tmp_path)) == 2


def test_a_deep_gemm_that_hides_what_it_compiles_for_gets_one_m_of_every_stretch(
    tmp_path: Path,
) -> None:
    device = get_device({"NORMAL": None})
    jobs, _ = make_jobs({Ask(SHAPES[0]): 256}, device, tmp_path, full=False)
    assert [job.payload["ms"] for job in jobs] == [[16, 32, 64, 128, 192, 256]]


def test_a_worker_that_dies_is_told_with_its_shape_and_tried_again(tmp_path: Path) -> None:
    result = compile_with_fakes(
        tmp_path, {SHAPES[0]: 64, SHAPES[5]: 64}, env={"FAKE_DIES_AT": "7168"}
    )
    assert result.failed == ()
    (note,) = result.notes
    assert note.startswith("MASKED n=7168 k=256 groups=257 m=") and "died once" in note


def test_little_memory_makes_m_smaller_and_says_so(tmp_path: Path) -> None:
    shape = Shape("NORMAL", 4096, 7168)
    free = (1 << 30) + get_bytes(shape, 4096)
    result = compile_with_fakes(tmp_path, {shape: 16384}, {**H200, "free": free})
    assert result.notes == (f"{shape}: M up to 4096 instead of 16384, for the device's memory",)
    assert max(int(line.rpartition("=")[2]) for line in get_calls(tmp_path)) <= 4096


def test_workers_are_bounded_by_the_devices_memory(tmp_path: Path) -> None:
    shape = Shape("CONTIG", 512, 7168, 257)
    free = 2 * ((1 << 30) + get_bytes(shape, 128)) - 1
    assert compile_with_fakes(tmp_path, {shape: 128}, {**H200, "free": free}).num_workers == 1


@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        ([H200, {**H200, "name": "NVIDIA H20", "sms": 78}], "of different kinds"),
        ([{**H200, "major": 8}], "here: capability 80"),
        ([], "here: no GPU"),
    ],
)
def test_gpus_that_will_not_do(tmp_path: Path, gpus: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(HostError) as caught:
        compile_with_fakes(tmp_path, {SHAPES[0]: 64}, env={"FAKE_GPUS": json.dumps(gpus)})
    assert told in caught.value.reason
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (None, "no nvcc"),
        ("echo 'release 12.2, V12.2.1'", "nvcc 12.2 is too old"),
        ("echo 'release 13.0, V13.0.88'", None),
    ],
)
def test_the_nvcc_that_deep_gemm_runs(tmp_path: Path, script: str | None, told: str | None) -> None:
    nvcc = tmp_path / "cuda" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    if script is not None:
        nvcc.write_text(f"#!/bin/sh\n{script}\n")
        nvcc.chmod(0o755)
    env = {"CUDA_HOME": str(tmp_path / "cuda")}
    if told is None:
        assert compile_with_fakes(tmp_path, {SHAPES[0]: 16}, env=env).failed == ()
        return
    with pytest.raises(HostError) as caught:
        compile_with_fakes(tmp_path, {SHAPES[0]: 16}, env=env)
    assert told in caught.value.reason
    # NVRTC needs none.
    compile_with_fakes(tmp_path, {SHAPES[0]: 16}, env={**env, "SGLANG_DG_USE_NVRTC": "true"})


def test_half_of_the_sms_is_told_to_deep_gemm(tmp_path: Path) -> None:
    device = get_device({"NORMAL": ""})
    jobs, _ = make_jobs({Ask(SHAPES[0], True): 64}, device, tmp_path, full=False)
    assert {job.payload["num_sms"] for job in jobs} == {72}
    assert all("on half of the SMs" in job.name for job in jobs)


def test_two_gpus_of_a_kind_share_the_work(tmp_path: Path) -> None:
    result = compile_with_fakes(tmp_path, {SHAPES[0]: 64}, H200, H200)
    assert result.device.num_gpus == 2


def test_a_cancel_leaves_whole_entries_only(tmp_path: Path) -> None:
    def check() -> None:
        if (tmp_path / "calls").exists() and len(get_calls(tmp_path)) > 2:
            raise Cancelled(signal.SIGTERM, "SIGTERM")

    with pytest.raises(Cancelled):
        compile_with_fakes(tmp_path, {SHAPES[0]: 16384}, full=True, check=check, num_jobs=1)
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []
    for entry in (tmp_path / "cache" / "cache").iterdir():
        assert (entry / "kernel.cubin").exists()


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot write"), private_cache(tmp_path / "file", "x"):
        pass

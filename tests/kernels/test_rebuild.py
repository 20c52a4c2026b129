from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels.entries import NVCC, make_package, write_csrc, write_jit
from warmup.kernels.pool import CompilePool, WorkerSpec
from warmup.kernels.rebuild import (
    HANDLER,
    OTHER_HEADERS,
    UNKNOWN,
    RebuildPlan,
    Toolchain,
    plan_rebuild,
)
from warmup.words.errors import UsageError, WarmupError

REAL_NVCC = shutil.which("nvcc")


def make_toolchain(include: Path, release: str, nvcc: str = "/opt/nvcc") -> Toolchain:
    return Toolchain(include, nvcc, NVCC.format(release))


def get_entries(plan: RebuildPlan) -> list[str]:
    return [Path(job.payload["entry"]).name for job in plan.jobs]


@pytest.mark.parametrize("write", [write_csrc, write_jit])
def test_a_changed_nvcc_gives_the_key_that_it_will_look_up(tmp_path: Path, write: object) -> None:
    include = make_package(tmp_path)
    write(tmp_path / "old", include, "12.9")  # type: ignore[operator]
    expected = write(tmp_path / "expected", include, "13.0")  # type: ignore[operator]
    plan = plan_rebuild(tmp_path / "old", tmp_path / "new", make_toolchain(include, "13.0"))
    assert get_entries(plan) == [expected.name]
    assert Path(plan.jobs[0].payload["entry"]).parent == tmp_path / "new" / "cache"


def test_a_moved_package_is_another_key_for_csrc_alone(tmp_path: Path) -> None:
    there, here = make_package(tmp_path / "a"), make_package(tmp_path / "b")
    write_csrc(tmp_path / "old", there, "13.0")
    write_jit(tmp_path / "old", there, "13.0")
    expected = write_csrc(tmp_path / "expected", here, "13.0")
    new = make_toolchain(here, "13.0")
    plan = plan_rebuild(tmp_path / "old", tmp_path / "old", new, [there])
    assert get_entries(plan) == [expected.name]
    assert len(plan.valid) == 1


def test_what_is_valid_already_is_not_compiled(tmp_path: Path) -> None:
    include = make_package(tmp_path)
    entries = [f(tmp_path / "old", include, "13.0").name for f in (write_csrc, write_jit)]
    plan = plan_rebuild(tmp_path / "old", tmp_path / "old", make_toolchain(include, "13.0"))
    assert (plan.jobs, sorted(plan.valid)) == ([], sorted(entries))


def test_keys_that_cannot_be_reproduced_write_nothing(tmp_path: Path) -> None:
    include = make_package(tmp_path)
    for index, write in enumerate((write_csrc, write_jit)):
        entry = write(tmp_path / f"old{index}", include, "13.0")
        entry.rename(entry.with_name(entry.name[:-4] + "0000"))
        with pytest.raises(WarmupError, match="cannot be reproduced: nothing was written"):
            plan_rebuild(
                tmp_path / f"old{index}", tmp_path / "new", make_toolchain(include, "13.0")
            )
    assert not (tmp_path / "new").exists()


def test_a_package_that_stood_elsewhere_must_be_named(tmp_path: Path) -> None:
    there, here = make_package(tmp_path / "a"), make_package(tmp_path / "b")
    write_csrc(tmp_path / "old", there, "13.0")
    with pytest.raises(WarmupError, match="cannot be reproduced"):
        plan_rebuild(tmp_path / "old", tmp_path / "new", make_toolchain(here, "13.0"))


def test_one_strange_entry_does_not_stop_the_others(tmp_path: Path) -> None:
    include = make_package(tmp_path)
    write_csrc(tmp_path / "old", include, "12.9", "sm90_bf16_gemm")
    strange = write_csrc(tmp_path / "old", include, "12.9")
    strange.rename(strange.with_name(strange.name[:-4] + "0000"))
    (write_jit(tmp_path / "old", include, "12.9", "other") / "meta.json").write_text("{")
    plan = plan_rebuild(tmp_path / "old", tmp_path / "new", make_toolchain(include, "13.0"))
    assert len(plan.jobs) == 1
    assert sorted(plan.skipped) == sorted([UNKNOWN, "its meta.json cannot be read"])


def test_other_headers_are_not_carried_over(tmp_path: Path) -> None:
    include = make_package(tmp_path)
    write_csrc(tmp_path / "old", include, "12.9")
    (include / "deep_gemm" / "a.cuh").write_text("int changed;\n")
    plan = plan_rebuild(tmp_path / "old", tmp_path / "new", make_toolchain(include, "13.0"))
    assert (plan.jobs, list(plan.skipped)) == ([], [OTHER_HEADERS])


def test_a_folder_without_entries_is_an_error(tmp_path: Path) -> None:
    include = make_package(tmp_path)
    for source in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError):
            plan_rebuild(source, tmp_path / "new", make_toolchain(include, "13.0"))


@pytest.mark.parametrize(
    ("version", "told"),
    [("release 12.2, V12.2.0", "too old"), ("gcc 12", "does not tell its release")],
)
def test_an_nvcc_that_will_not_do(tmp_path: Path, version: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        _ = Toolchain(tmp_path, "/opt/nvcc", version).release


@pytest.mark.skipif(REAL_NVCC is None, reason="needs nvcc")
@pytest.mark.parametrize("write", [write_csrc, write_jit])
def test_a_rebuilt_entry_is_whole_and_reproduces_itself(tmp_path: Path, write: object) -> None:
    include = make_package(tmp_path)
    (include / "deep_gemm" / "a.cuh").write_text("#pragma once\n#include <deep_gemm/sub/b.cuh>\n")
    write(tmp_path / "old", include, "12.4")  # type: ignore[operator]
    version = subprocess.run(
        [str(REAL_NVCC), "--version"], capture_output=True, text=True, timeout=60
    ).stdout
    new = Toolchain(include, str(REAL_NVCC), version)
    plan = plan_rebuild(tmp_path / "old", tmp_path / "new", new)
    building = tmp_path / "new" / "tmp"
    building.mkdir(parents=True)
    (tmp_path / "new" / "cache").mkdir()
    spec = WorkerSpec(python=sys.executable, handler=HANDLER, args=(str(building),))
    with CompilePool([spec], env=os.environ, cwd=tmp_path, log=tmp_path / "log") as pool:
        (outcome,) = pool.run(plan.jobs)
    assert outcome.error is None
    assert (Path(outcome.answer) / "kernel.cubin").read_bytes()[:4] == b"\x7fELF"
    assert list(building.iterdir()) == []
    again = plan_rebuild(tmp_path / "new", tmp_path / "new", new)
    assert (again.jobs, again.valid) == ([], [Path(outcome.answer).name])


@pytest.mark.skipif(REAL_NVCC is None, reason="needs nvcc")
def test_a_source_that_does_not_compile_leaves_no_entry(tmp_path: Path) -> None:
    include = make_package(tmp_path)
    (include / "deep_gemm" / "a.cuh").write_text("this is no C++\n")
    write_csrc(tmp_path / "old", include, "12.4")
    new = Toolchain(include, str(REAL_NVCC), NVCC.format("13.0"))
    plan = plan_rebuild(tmp_path / "old", tmp_path / "new", new)
    building = tmp_path / "new" / "tmp"
    building.mkdir(parents=True)
    (tmp_path / "new" / "cache").mkdir()
    spec = WorkerSpec(python=sys.executable, handler=HANDLER, args=(str(building),))
    with CompilePool([spec], env=os.environ, cwd=tmp_path, log=tmp_path / "log") as pool:
        (outcome,) = pool.run(plan.jobs)
    assert outcome.error is not None and "nvcc ended with" in outcome.error
    assert list((tmp_path / "new" / "cache").iterdir()) == []

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.caches.caches import make_cubin, write_deep_gemm
from tests.caches.hazards.find import find, get_rules
from warmup.caches.hazards.ownership import is_loadable, repair


def test_a_cubin_that_everyone_may_write_is_told_and_repaired(tmp_path: Path) -> None:
    folder = write_deep_gemm(tmp_path, cubin=make_cubin())
    (folder / "kernel.cubin").chmod(0o666)
    (found,) = find("deep_gemm", tmp_path)
    assert (found.rule, found.severity) == ("loadable-writable", "error")
    assert found.message == "everyone may write it (mode 666)" and found.is_repairable
    assert repair(found) == "mode 666 → 664"
    assert find("deep_gemm", tmp_path) == []


@pytest.mark.parametrize("depth", [0, 2])
def test_a_folder_in_which_everyone_may_replace_it_is_told(tmp_path: Path, depth: int) -> None:
    folder = write_deep_gemm(tmp_path / "root", cubin=make_cubin())
    shared = (tmp_path / "root", folder.parent, folder)[depth]
    shared.chmod(0o777)
    (found,) = find("deep_gemm", tmp_path / "root")
    assert (found.rule, found.path) == ("loadable-writable", str(shared))
    repair(found)
    assert find("deep_gemm", tmp_path / "root") == []


def test_a_source_that_everyone_may_write_is_none_of_it(tmp_path: Path) -> None:
    folder = write_deep_gemm(tmp_path, cubin=make_cubin())
    (folder / "kernel.cu").chmod(0o666)
    assert find("deep_gemm", tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_a_file_of_another_user_is_told_and_left_to_people(tmp_path: Path) -> None:
    folder = write_deep_gemm(tmp_path, cubin=make_cubin())
    os.chown(folder / "kernel.cubin", 65534, 65534)
    found = find("deep_gemm", tmp_path)
    assert get_rules(found) == ["loadable-writable"]
    assert found[0].message == "it belongs to user 65534" and not found[0].is_repairable


def test_repair_follows_no_link(tmp_path: Path) -> None:
    folder = write_deep_gemm(tmp_path / "root", cubin=make_cubin())
    (folder / "kernel.cubin").chmod(0o666)
    (found,) = find("deep_gemm", tmp_path / "root")
    (tmp_path / "victim").touch(mode=0o666)
    (tmp_path / "victim").chmod(0o666)
    (folder / "kernel.cubin").unlink()
    (folder / "kernel.cubin").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError):
        repair(found)
    assert (tmp_path / "victim").stat().st_mode & 0o777 == 0o666


def test_pickles_are_loadable_code() -> None:
    assert is_loadable("fxgraph/ab/key", "entry") and is_loadable("aotautograd/key", "entry")
    assert is_loadable("0.1/kernels/key", "params.pkl") and is_loadable("fp/0a.o", "")
    assert not is_loadable("ab/cab.py", "") and not is_loadable("KEY", "add.ptx")

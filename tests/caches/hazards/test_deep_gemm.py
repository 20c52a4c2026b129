from __future__ import annotations

from pathlib import Path

import pytest

from tests.caches.caches import make_cubin, write_deep_gemm, write_deep_jit
from tests.caches.hazards.find import find, get_rules
from warmup.caches.hazards.deep_gemm import repair_half_written

INCLUDE = "/venv/lib/python3.11/site-packages/deep_gemm/include"


@pytest.mark.parametrize("name", ["kernel.cu", "kernel.cubin"])
def test_a_folder_that_lacks_a_file_is_half_written(tmp_path: Path, name: str) -> None:
    folder = write_deep_gemm(tmp_path, cubin=make_cubin())
    (folder / name).unlink()
    (found,) = find("deep_gemm", tmp_path)
    assert (found.rule, found.severity) == ("deep-gemm-half-written", "error")
    assert (found.kernel, found.message) == ("fp8_gemm", f"the folder lacks {name}")
    repair_half_written(found)
    assert not folder.exists()


def test_an_empty_folder_is_half_written(tmp_path: Path) -> None:
    (tmp_path / "cache" / "kernel.fp8_gemm.00").mkdir(parents=True)
    (found,) = find("deep_gemm", tmp_path)
    assert (found.rule, found.kernel) == ("deep-gemm-half-written", "fp8_gemm")
    repair_half_written(found)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["meta.json", ".committed"])
def test_an_uncommitted_deep_jit_folder_is_half_written(tmp_path: Path, name: str) -> None:
    folder = write_deep_jit(tmp_path, INCLUDE, cubin=make_cubin())
    (folder / name).unlink()
    assert get_rules(find("deep_gemm", tmp_path)) == ["deep-gemm-half-written"]


def test_a_folder_that_was_finished_meanwhile_stays(tmp_path: Path) -> None:
    folder = write_deep_gemm(tmp_path)
    (folder / "kernel.cu").unlink()
    found = [one for one in find("deep_gemm", tmp_path) if one.rule == "deep-gemm-half-written"]
    (folder / "kernel.cu").touch()
    assert repair_half_written(found[0]) == "nothing left to do"
    assert folder.exists()


def test_an_include_path_that_is_not_the_installed_one_is_told(tmp_path: Path) -> None:
    write_deep_jit(tmp_path, INCLUDE, cubin=make_cubin())
    assert find("deep_gemm", tmp_path, deep_gemm_includes=(INCLUDE,)) == []
    assert find("deep_gemm", tmp_path) == []
    (found,) = find("deep_gemm", tmp_path, deep_gemm_includes=("/other/deep_gemm/include",))
    assert (found.rule, found.is_repairable) == ("deep-gemm-include-path", False)
    assert found.message == f"compiled with {INCLUDE}, installed is /other/deep_gemm/include"


def test_metadata_that_is_none_is_passed_over(tmp_path: Path) -> None:
    folder = write_deep_jit(tmp_path, INCLUDE, cubin=make_cubin())
    for data in ("", "7", '{"config": []}', "{" * 10_000):
        (folder / "meta.json").write_text(data)
        assert find("deep_gemm", tmp_path, deep_gemm_includes=("/other",)) == []

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.caches.caches import (
    compile_triton,
    set_mtime,
    write_deep_gemm,
    write_deep_jit,
    write_flashinfer,
)
from warmup.caches import mark
from warmup.caches.manifest import NewEntry
from warmup.caches.mark import Mark, find_new_after, make_mark
from warmup.words.mounts import Mount
from warmup.words.names import FAMILY_NAMES


def make(tmp_path: Path, *families: str) -> Mark:
    env = {
        "HOME": str(tmp_path / "user"),
        "TMPDIR": str(tmp_path),
        "DG_JIT_CACHE_DIR": str(tmp_path / "deep_gemm"),
        "TRITON_CACHE_DIR": str(tmp_path / "triton"),
        "FLASHINFER_WORKSPACE_BASE": str(tmp_path),
    }
    return make_mark(families or FAMILY_NAMES, env)


def get_kernels(found: dict[str, list[NewEntry]]) -> dict[str, list[str]]:
    return {name: [one.kernel for one in entries] for name, entries in found.items()}


def test_only_what_comes_after_the_mark_is_new(tmp_path: Path) -> None:
    write_deep_gemm(tmp_path / "deep_gemm", "before")
    mark = make(tmp_path)
    assert find_new_after(mark) == {}
    write_deep_gemm(tmp_path / "deep_gemm", "after")
    assert get_kernels(find_new_after(mark)) == {"deep_gemm": ["after"]}


def test_what_was_written_just_before_or_just_after_is_told_apart(tmp_path: Path) -> None:
    """The kernel stamps files with a coarse clock: neighbours in time must not be confused."""
    for index in range(20):
        write_deep_gemm(tmp_path / "deep_gemm", f"before{index}")
        mark = make(tmp_path, "deep_gemm")
        write_deep_gemm(tmp_path / "deep_gemm", f"after{index}")
        assert get_kernels(find_new_after(mark)) == {"deep_gemm": [f"after{index}"]}


def test_a_folder_made_elsewhere_and_renamed_into_place_is_new(tmp_path: Path) -> None:
    mark = make(tmp_path)
    aside = write_deep_gemm(tmp_path / "aside")
    (tmp_path / "deep_gemm" / "cache").mkdir(parents=True)
    aside.rename(tmp_path / "deep_gemm" / "cache" / aside.name)
    assert get_kernels(find_new_after(mark)) == {"deep_gemm": ["fp8_gemm"]}


def test_a_file_replaced_in_an_old_entry_is_new(tmp_path: Path) -> None:
    folder = write_deep_gemm(tmp_path / "deep_gemm")
    mark = make(tmp_path)
    (folder / "fresh").write_bytes(b"x")
    (folder / "fresh").replace(folder / "kernel.cubin")
    assert get_kernels(find_new_after(mark)) == {"deep_gemm": ["fp8_gemm"]}


def test_a_mere_hit_makes_nothing_new(tmp_path: Path) -> None:
    folder = write_deep_jit(tmp_path / "deep_gemm", "/venv/deep_gemm/include")
    mark = make(tmp_path)
    (folder / ".committed").touch()
    (folder / "kernel.cubin").read_bytes()
    assert find_new_after(mark) == {}


def test_what_is_written_in_place_is_seen_where_a_family_does_so(tmp_path: Path) -> None:
    folder = write_flashinfer(tmp_path, "/usr/local/cuda")
    mark = make(tmp_path)
    with (folder / "batch_prefill.so").open("r+b") as file:
        file.write(b"S")
    assert get_kernels(find_new_after(mark)) == {"flashinfer": ["batch_prefill"]}


def test_an_archive_restored_meanwhile_compiled_nothing(tmp_path: Path) -> None:
    mark = make(tmp_path)
    folder = write_deep_gemm(tmp_path / "deep_gemm")
    for path in folder.iterdir():
        set_mtime(path, 1_000_000_000)
    assert find_new_after(mark) == {}


def test_triton_compiles_and_then_hits(tmp_path: Path) -> None:
    source = tmp_path / "kernel.py"
    first = make(tmp_path)
    compile_triton(tmp_path / "triton", "add_kernel", source=source)
    assert get_kernels(find_new_after(first)) == {"triton": ["add_kernel"]}
    second = make(tmp_path)
    compile_triton(tmp_path / "triton", "add_kernel", source=source)
    assert find_new_after(second) == {}


def test_a_folder_with_subfolders_is_opened_whatever_its_own_time(tmp_path: Path) -> None:
    """A grandchild moves the mtime of its parent alone."""
    (tmp_path / "deep_gemm" / "cache").mkdir(parents=True)
    write_deep_gemm(tmp_path / "deep_gemm", "before")
    mark = make(tmp_path, "deep_gemm")
    write_deep_gemm(tmp_path / "deep_gemm", "after")
    for folder in (tmp_path / "deep_gemm" / "cache", tmp_path / "deep_gemm"):
        os.utime(folder, ns=(0, 0))
    assert get_kernels(find_new_after(mark)) == {"deep_gemm": ["after"]}


def test_under_another_hosts_clock_it_is_walked_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = Mount("/", "nfs4", frozenset())
    monkeypatch.setattr(mark, "find_mount", lambda path: mount)
    write_deep_gemm(tmp_path / "deep_gemm", "before")
    begun = make(tmp_path, "deep_gemm")
    folder = write_deep_gemm(tmp_path / "deep_gemm", "after")
    for path in folder.iterdir():
        set_mtime(path, 1_000_000_000)  # that host's clock is far behind
    assert get_kernels(find_new_after(begun)) == {"deep_gemm": ["after"]}


def test_roots_that_come_or_go_meanwhile_are_no_crash(tmp_path: Path) -> None:
    write_deep_gemm(tmp_path / "deep_gemm")
    mark = make(tmp_path)
    shutil.rmtree(tmp_path / "deep_gemm")
    assert find_new_after(mark) == {}

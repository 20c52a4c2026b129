from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.caches.caches import compile_triton, set_mtime, write_deep_gemm, write_deep_jit
from warmup.caches.manifest import find_new, make_manifest, summaries
from warmup.caches.records import Manifest, decode, encode
from warmup.caches.unread import mark_unread
from warmup.caches.walk import Snapshot, take_snapshot


def list_entries(manifest: Manifest) -> set[str]:
    return {
        entry.path for roots in manifest.families.values() for r in roots for entry in r.entries
    }


def snap(root: Path, family: str = "deep_gemm") -> Snapshot:
    variable = {"deep_gemm": "DG_JIT_CACHE_DIR", "triton": "TRITON_CACHE_DIR"}[family]
    return take_snapshot([family], {"HOME": "/nonexistent", variable: str(root)})


def test_what_triton_compiled_is_new_and_named(tmp_path: Path, triton_cache: Path) -> None:
    before = snap(triton_cache, "triton")
    compile_triton(triton_cache, "norm_kernel", source=tmp_path / "norm_kernel.py")
    after = snap(triton_cache, "triton")
    (new,) = find_new(before, after)["triton"]
    assert new.kernel == "norm_kernel"
    assert new.t == pytest.approx(max((triton_cache / new.entry).stat().st_mtime, new.t), abs=60)


def test_a_hit_makes_nothing_new(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    compile_triton(cache, "add_kernel", source=tmp_path / "kernel.py")
    before = snap(cache, "triton")
    compile_triton(cache, "add_kernel", source=tmp_path / "kernel.py")
    assert find_new(before, snap(cache, "triton")) == {}


def test_a_rewritten_entry_is_new_one_that_lost_a_file_is_not(tmp_path: Path) -> None:
    one = write_deep_gemm(tmp_path, "one", cubin=b"11")
    two = write_deep_gemm(tmp_path, "two")
    before = snap(tmp_path)
    (one / "kernel.cubin").write_bytes(b"22")
    set_mtime(one / "kernel.cubin", 2_000_000_000)
    (two / "kernel.cu").unlink()
    new = find_new(before, snap(tmp_path))
    assert [(each.kernel, each.t) for each in new["deep_gemm"]] == [("one", 2_000_000_000.0)]


def test_the_mtime_that_a_hit_moves_says_nothing(tmp_path: Path) -> None:
    """sgl-deep-gemm 0.2.5 touches `.committed` on every hit."""
    folder = write_deep_jit(tmp_path, "/venv/deep_gemm/include")
    before = snap(tmp_path)
    set_mtime(folder / ".committed", 2_000_000_000)
    assert find_new(before, snap(tmp_path)) == {}


def test_new_entries_come_oldest_first(tmp_path: Path) -> None:
    before = snap(tmp_path)
    for name, t in (("late", 3e8), ("early", 1e8), ("middle", 2e8)):
        folder = write_deep_gemm(tmp_path, name)
        for path in folder.iterdir():
            set_mtime(path, t)
    kernels = [each.kernel for each in find_new(before, snap(tmp_path))["deep_gemm"]]
    assert kernels == ["early", "middle", "late"]


def test_a_manifest_lists_all_and_says_what_was_added(tmp_path: Path) -> None:
    write_deep_gemm(tmp_path, "old")
    before = snap(tmp_path)
    write_deep_gemm(tmp_path, "new")
    manifest = make_manifest(before, snap(tmp_path))
    (root,) = manifest.families["deep_gemm"]
    assert [(entry.kernel, entry.added) for entry in root.entries] == [
        ("new", True),
        ("old", False),
    ]
    assert manifest.basis == "present"
    assert decode(encode(manifest)) == manifest


def test_a_summary_counts_and_binds_the_contents(tmp_path: Path) -> None:
    folder = write_deep_gemm(tmp_path, cubin=b"12345")
    before = snap(tmp_path)
    one = summaries(make_manifest(before, before))["deep_gemm"]
    assert (one.root, one.entries, one.bytes) == (str(tmp_path), 1, 15)
    (folder / "kernel.cubin").write_bytes(b"54321")
    shutil.copystat(folder / "kernel.cu", folder / "kernel.cubin")
    two = summaries(make_manifest(before, snap(tmp_path)))["deep_gemm"]
    assert two.digest != one.digest and len(two.digest) == 64


def test_odd_names_survive_the_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / os.fsdecode(b"kernel.a\n\xff.00")
    folder.mkdir(parents=True)
    (folder / "kernel.cu").touch()
    snapshot = snap(tmp_path)
    manifest = make_manifest(snapshot, snapshot)
    assert decode(encode(manifest)) == manifest
    assert list_entries(manifest) == {"cache/kernel.a\n%FF.00"}


def test_files_that_vanish_before_they_are_hashed_are_left_out(tmp_path: Path) -> None:
    write_deep_gemm(tmp_path, "stays")
    gone = write_deep_gemm(tmp_path, "goes")
    snapshot = snap(tmp_path)
    shutil.rmtree(gone)
    (root,) = make_manifest(snapshot, snapshot).families["deep_gemm"]
    assert [entry.kernel for entry in root.entries] == ["stays"]


def test_entries_of_an_earlier_vector_that_were_not_read_are_left_out(tmp_path: Path) -> None:
    read, unread = write_deep_gemm(tmp_path, "read"), write_deep_gemm(tmp_path, "unread")
    kept = write_deep_gemm(tmp_path, "kept")
    before = mark_unread(snap(tmp_path))
    if not before.families["deep_gemm"][0].is_marked:
        pytest.skip("this file system does not show reads (noatime)")
    (read / "kernel.cubin").read_bytes()
    stale = {"deep_gemm": frozenset({f"cache/{read.name}", f"cache/{unread.name}"})}
    manifest = make_manifest(before, snap(tmp_path), stale=stale)
    assert list_entries(manifest) == {f"cache/{read.name}", f"cache/{kept.name}"}
    assert manifest.basis == "read"


def test_where_reads_do_not_show_everything_is_listed(tmp_path: Path) -> None:
    folder = write_deep_gemm(tmp_path)
    before = snap(tmp_path)
    stale = {"deep_gemm": frozenset({f"cache/{folder.name}"})}
    manifest = make_manifest(before, snap(tmp_path), stale=stale)
    assert list_entries(manifest) == stale["deep_gemm"]
    assert manifest.basis == "present"


def test_triton_reads_what_it_uses(tmp_path: Path) -> None:
    """The real reader: a hit shows, a kernel of another program does not."""
    cache = tmp_path / "cache"
    for kernel in ("used_kernel", "unused_kernel"):
        compile_triton(cache, kernel, source=tmp_path / f"{kernel}.py")
    before = mark_unread(snap(cache, "triton"))
    if not before.families["triton"][0].is_marked:
        pytest.skip("this file system does not show reads (noatime)")
    compile_triton(cache, "used_kernel", source=tmp_path / "used_kernel.py")
    after = snap(cache, "triton")
    stale = {"triton": frozenset(after.families["triton"][0].entries)}
    (root, *_) = make_manifest(before, after, stale=stale).families["triton"]
    assert [entry.kernel for entry in root.entries] == ["used_kernel"]


def test_marking_keeps_modification_times(tmp_path: Path) -> None:
    folder = write_deep_gemm(tmp_path)
    set_mtime(folder / "kernel.cu", 1_234_567_890)
    mark_unread(snap(tmp_path))
    assert (folder / "kernel.cu").stat().st_mtime_ns == 1_234_567_890 * 10**9
    assert (folder / "kernel.cu").stat().st_atime_ns == 0

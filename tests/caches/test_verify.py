from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.caches.caches import set_mtime, write_deep_gemm, write_deep_jit
from warmup.caches.manifest import make_manifest
from warmup.caches.records import Manifest
from warmup.caches.verify import find_mismatch, verify_deep
from warmup.caches.walk import take_snapshot

DIGEST = "ab" * 16


def bind(root: Path) -> tuple[Manifest, dict[str, str]]:
    env = {"HOME": "/nonexistent", "DG_JIT_CACHE_DIR": str(root)}
    snapshot = take_snapshot(["deep_gemm"], env)
    return make_manifest(snapshot, snapshot), env


def test_an_untouched_cache_stands(tmp_path: Path) -> None:
    write_deep_gemm(tmp_path)
    manifest, env = bind(tmp_path)
    assert find_mismatch(manifest, env) is None
    assert verify_deep(manifest) == []


def truncate(path: Path) -> None:
    path.write_bytes(b"")


def rewrite(path: Path) -> None:
    path.write_bytes(b"other")
    set_mtime(path, 2_000_000_000)


def replace_by_link(path: Path) -> None:
    other = path.with_name("other")
    path.replace(other)
    path.symlink_to(other)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (Path.unlink, "is missing"),
        (truncate, "0 bytes, 5 recorded"),
        (rewrite, "another modification time"),
        (replace_by_link, "changed"),
    ],
)
def test_a_missing_or_changed_file_is_named_with_its_kernel(
    tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    write_deep_gemm(tmp_path, "fp8_gemm", DIGEST)
    manifest, env = bind(tmp_path)
    damage(tmp_path / "cache" / f"kernel.fp8_gemm.{DIGEST}" / "kernel.cubin")
    found = find_mismatch(manifest, env)
    assert found is not None
    assert found.startswith(f"deep_gemm: fp8_gemm: cache/kernel.fp8_gemm.{DIGEST}/kernel.cubin ")
    assert told in found


def test_deep_names_every_mismatch(tmp_path: Path) -> None:
    folders = [write_deep_gemm(tmp_path, f"k{i}") for i in range(3)]
    manifest, _ = bind(tmp_path)
    for folder in folders[1:]:
        shutil.rmtree(folder)
    assert {each.kernel for each in verify_deep(manifest)} == {"k1", "k2"}


def test_a_family_that_moved_is_a_mismatch_though_the_files_stand(tmp_path: Path) -> None:
    write_deep_gemm(tmp_path)
    manifest, env = bind(tmp_path)
    found = find_mismatch(manifest, {**env, "DG_JIT_CACHE_DIR": "/elsewhere"})
    assert found == "deep_gemm: the environment now puts it at /elsewhere"


def test_what_came_later_does_not_matter(tmp_path: Path) -> None:
    write_deep_gemm(tmp_path)
    manifest, env = bind(tmp_path)
    write_deep_gemm(tmp_path, "later")
    assert find_mismatch(manifest, env) is None


def test_a_cache_restored_by_tar_stands(tmp_path: Path) -> None:
    """actions/cache packs with tar, which keeps whole seconds and makes new inodes."""
    root = tmp_path / "root"
    write_deep_gemm(root)
    manifest, env = bind(root)
    archive = tmp_path / "cache.tar"
    subprocess.run(["tar", "--format=gnu", "-cf", archive, "-C", tmp_path, "root"], check=True)
    shutil.rmtree(root)
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    assert find_mismatch(manifest, env) is None
    assert verify_deep(manifest) == []


def test_the_mtime_that_a_hit_moves_is_not_looked_at_but_the_file_is(tmp_path: Path) -> None:
    folder = write_deep_jit(tmp_path, "/venv/deep_gemm/include")
    manifest, env = bind(tmp_path)
    set_mtime(folder / ".committed", 2_000_000_000)
    assert find_mismatch(manifest, env) is None
    (folder / ".committed").unlink()
    assert ".committed is missing" in str(find_mismatch(manifest, env))


def test_deep_sees_a_flip_that_a_stat_does_not(tmp_path: Path) -> None:
    folder = write_deep_gemm(tmp_path, cubin=b"12345")
    manifest, env = bind(tmp_path)
    status = (folder / "kernel.cubin").stat()
    (folder / "kernel.cubin").write_bytes(b"12346")
    os.utime(folder / "kernel.cubin", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert find_mismatch(manifest, env) is None
    (found,) = verify_deep(manifest)
    assert (found.kernel, found.name, found.problem) == (
        "fp8_gemm", "kernel.cubin", "content changed",
    )  # fmt: skip


def test_deep_reads_nothing_outside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    folder = write_deep_gemm(root)
    manifest, _ = bind(root)
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert {"symbolic link" in each.problem for each in verify_deep(manifest)} == {True}


def test_deep_does_not_block_on_a_fifo(tmp_path: Path) -> None:
    folder = write_deep_gemm(tmp_path)
    manifest, _ = bind(tmp_path)
    (folder / "kernel.cu").unlink()
    os.mkfifo(folder / "kernel.cu")
    (found,) = verify_deep(manifest)
    assert "not a regular file" in found.problem

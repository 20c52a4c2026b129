"""Whoever may write in a cache, and whatever is swapped or mounted in it: nothing outside changes.

As in the attacks on commit c9f141e (F1, F4, F12): links in place of folders, by
renameat2(RENAME_EXCHANGE) while we work, guessed names of temporaries, bind mounts, hard links.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest

from tests.caches.caches import compile_triton, make_cubin, write_deep_gemm
from tests.caches.hazards.find import find
from tests.races import bound, swapping
from warmup.caches.family_table import get_family
from warmup.caches.hazards import ownership, torch_lock, triton_group
from warmup.caches.manifest import make_manifest
from warmup.caches.remove import remove_inside
from warmup.caches.unread import mark_unread
from warmup.caches.verify import verify_deep
from warmup.caches.walk import Snapshot, take_snapshot, walk_root

ROUNDS = 200


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder outside that looks like a cache's, of a file that must stay as it is."""
    folder = tmp_path / "victim"
    write_deep_gemm(folder, "precious", cubin=b"precious").chmod(0o777)
    precious = folder / "cache" / f"kernel.precious.{'0' * 32}" / "kernel.cubin"
    precious.chmod(0o666)
    os.utime(precious, (1_000_000_000, 1_000_000_000))
    return folder


@pytest.fixture
def precious(victim: Path) -> Path:
    return victim / "cache" / f"kernel.precious.{'0' * 32}" / "kernel.cubin"


def make_root(tmp_path: Path, victim: Path) -> Path:
    """A root whose `cache` holds the same entry as the victim's, with a link to that beside it."""
    root = tmp_path / "root"
    write_deep_gemm(root, "precious", cubin=make_cubin())
    (root / "link").symlink_to(victim / "cache")
    return root


ENTRY = f"cache/kernel.precious.{'0' * 32}"


def test_removal_never_leaves_the_root(tmp_path: Path, victim: Path, precious: Path) -> None:
    root = make_root(tmp_path, victim)
    cache = os.open(root / "cache", os.O_RDONLY)
    with swapping(root / "cache", root / "link"):
        for _ in range(ROUNDS):
            with contextlib.suppress(OSError):
                remove_inside(root, ENTRY)
            assert precious.exists()
            with contextlib.suppress(FileExistsError):
                os.mkdir(Path(ENTRY).name, dir_fd=cache)
    os.close(cache)
    assert precious.read_bytes() == b"precious"


def test_a_walk_never_leaves_the_root(tmp_path: Path, victim: Path) -> None:
    root = make_root(tmp_path, victim)
    with swapping(root / "cache", root / "link"):
        for _ in range(ROUNDS):
            found = walk_root(get_family("deep_gemm"), root)
            sizes = {file.size for files in found.entries.values() for file in files}
            assert len(b"precious") not in sizes


def test_marking_changes_no_times_outside(tmp_path: Path, victim: Path, precious: Path) -> None:
    root = make_root(tmp_path, victim)
    snapshot = Snapshot({"deep_gemm": [walk_root(get_family("deep_gemm"), root)]})
    with swapping(root / "cache", root / "link"):
        for _ in range(ROUNDS):
            mark_unread(snapshot)
            assert precious.stat().st_atime == 1_000_000_000


def test_taking_rights_away_changes_nothing_outside(
    tmp_path: Path, victim: Path, precious: Path
) -> None:
    root = make_root(tmp_path, victim)
    (root / ENTRY / "kernel.cubin").chmod(0o666)
    (found,) = [one for one in find("deep_gemm", root) if one.rule == ownership.WRITABLE.id]
    with swapping(root / "cache", root / "link"):
        for _ in range(ROUNDS):
            with contextlib.suppress(OSError):
                ownership.repair(found)
            assert precious.stat().st_mode & 0o777 == 0o666


def test_a_hard_link_to_a_file_outside_keeps_its_mode_and_times(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(make_cubin())
    outside.chmod(0o666)
    os.utime(outside, (1_000_000_000, 1_000_000_000))
    folder = write_deep_gemm(tmp_path / "root", cubin=b"")
    (folder / "kernel.cubin").unlink()
    (folder / "kernel.cubin").hardlink_to(outside)
    (found,) = find("deep_gemm", tmp_path / "root")
    with pytest.raises(OSError, match="hard link"):
        ownership.repair(found)
    mark_unread(take_snapshot(["deep_gemm"], {"DG_JIT_CACHE_DIR": str(tmp_path / "root")}))
    assert outside.stat().st_mode & 0o777 == 0o666
    assert outside.stat().st_atime > 1_000_000_000  # read, and not marked
    remove_inside(tmp_path / "root", f"cache/{folder.name}")
    assert outside.read_bytes() == make_cubin()


def test_a_group_is_not_rewritten_through_a_guessed_temporary(tmp_path: Path) -> None:
    """F1: the temporary's name was the process id and the file's own."""
    compile_triton(tmp_path / "cache", "add_kernel", source=tmp_path / "kernel.py")
    (tmp_path / "cache").rename(tmp_path / "moved")
    (found,) = find("triton", tmp_path / "moved")
    (tmp_path / "passwd").write_text("root::0")
    group = Path(found.path)
    for pid in (os.getpid(), os.getpid() + 1):
        group.with_name(f"tmp.pid_{pid}_{group.name}").symlink_to(tmp_path / "passwd")
    triton_group.repair(found)
    assert (tmp_path / "passwd").read_text() == "root::0"
    assert not (tmp_path / "passwd").is_symlink()


def test_a_group_is_not_rewritten_outside(tmp_path: Path) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    for folder in (root / "KEY", victim):
        folder.mkdir(parents=True)
        (folder / "add.cubin").write_bytes(make_cubin())
        group = {"child_paths": {"add.cubin": "/gone/add.cubin"}}
        (folder / "__grp__add.json").write_text(json.dumps(group))
    before = (victim / "__grp__add.json").read_bytes()
    (root / "link").symlink_to(victim)
    found = find("triton", root)[0]
    with swapping(root / "KEY", root / "link"):
        for _ in range(ROUNDS):
            with contextlib.suppress(OSError):
                triton_group.repair(found)
            assert (victim / "__grp__add.json").read_bytes() == before


def test_a_lock_outside_stays(tmp_path: Path) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    for folder in (root / "rasterizer", victim):
        folder.mkdir(parents=True)
        (folder / "lock").touch()
    (found,) = find("torch_extensions", root)
    (root / "link").symlink_to(victim)
    with swapping(root / "rasterizer", root / "link"):
        for _ in range(20):
            with contextlib.suppress(OSError):
                torch_lock.repair(found)
            assert (victim / "lock").exists()
            with contextlib.suppress(OSError):
                (root / "rasterizer" / "lock").touch()


def test_what_is_mounted_in_an_entry_is_neither_listed_nor_removed(
    tmp_path: Path, victim: Path, precious: Path
) -> None:
    """F12: `gc` deleted through a bind mount."""
    folder = write_deep_gemm(tmp_path / "root", cubin=make_cubin())
    (tmp_path / "root" / "cache" / "mounted").mkdir()
    (folder / "mounted").mkdir()
    with bound(victim / "cache", folder / "mounted"):
        with pytest.raises(OSError, match="another mount"):
            remove_inside(tmp_path / "root", f"cache/{folder.name}")
        with pytest.raises(OSError, match="another mount"):
            remove_inside(tmp_path / "root", f"cache/{folder.name}/mounted/{precious.parent.name}")
    with bound(victim / "cache", tmp_path / "root" / "cache" / "mounted"):
        (found,) = find("deep_gemm", tmp_path / "root")
        assert found.rule == "cache-unreadable" and "another mount" in found.message
    assert precious.read_bytes() == b"precious"


def test_contents_are_read_below_the_root_alone(tmp_path: Path, victim: Path) -> None:
    root = make_root(tmp_path, victim)
    env = {"DG_JIT_CACHE_DIR": str(root)}
    snapshot = take_snapshot(["deep_gemm"], env)
    (root / "cache").rename(root / "aside")
    (root / "link").rename(root / "cache")
    assert make_manifest(snapshot, snapshot).families["deep_gemm"][0].entries == []
    (root / "cache").rename(root / "link")
    (root / "aside").rename(root / "cache")
    manifest = make_manifest(snapshot, snapshot)
    (root / "cache").rename(root / "aside")
    (root / "link").rename(root / "cache")
    assert {"symbolic link" in each.problem for each in verify_deep(manifest)} == {True}


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_files_that_never_end_or_never_begin_are_refused(tmp_path: Path, kind: str) -> None:
    folder = write_deep_gemm(tmp_path / "root", cubin=make_cubin())
    snapshot = take_snapshot(["deep_gemm"], {"DG_JIT_CACHE_DIR": str(tmp_path / "root")})
    manifest = make_manifest(snapshot, snapshot)
    (folder / "kernel.cubin").unlink()
    if kind == "fifo":
        os.mkfifo(folder / "kernel.cubin")
    else:
        try:
            os.mknod(folder / "kernel.cubin", 0o20666, os.makedev(1, 5))  # /dev/zero
        except PermissionError:
            pytest.skip("cannot make devices here")
    (damage,) = verify_deep(manifest)
    assert "not a regular file" in damage.problem
    (entry,) = make_manifest(snapshot, snapshot).families["deep_gemm"][0].entries
    assert [file.name for file in entry.files] == ["kernel.cu"]

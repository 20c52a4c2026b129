from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tests.caches.caches import make_cubin, write_deep_gemm
from tests.caches.hazards.find import find
from warmup.caches.family_table import get_family
from warmup.caches.hazards.place import find_mount_fault
from warmup.caches.hazards.rule import Facts
from warmup.caches.hazards.rules import find_hazards
from warmup.caches.walk import Snapshot, walk_root
from warmup.words.mounts import parse_mounts


def find_all(root: Path, env: dict[str, str]) -> set[str]:
    snapshot = Snapshot({"deep_gemm": [walk_root(get_family("deep_gemm"), root)]})
    return {each.rule for each in find_hazards(snapshot, Facts(env=env))}


def test_a_cache_in_the_temporary_folder_is_noted(tmp_path: Path) -> None:
    write_deep_gemm(tmp_path / "cache", cubin=make_cubin())
    assert find_all(tmp_path / "cache", {"TMPDIR": str(tmp_path)}) == {"root-volatile"}


def test_a_cache_in_memory_is_noted() -> None:
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("needs /dev/shm")
    root = Path("/dev/shm") / f"warmup-ci-test-{os.getpid()}"
    try:
        folder = write_deep_gemm(root, cubin=make_cubin())
        found = find_all(root, {})
    finally:
        for path in (folder / "kernel.cu", folder / "kernel.cubin"):
            path.unlink()
        for path in (folder, root / "cache", root):
            path.rmdir()
    assert found == {"root-volatile"}


def test_an_empty_root_is_no_finding(tmp_path: Path) -> None:
    assert find_all(tmp_path, {}) == set()


@pytest.mark.parametrize(
    ("line", "is_fault"),
    [
        ("1 0 0:1 / /c rw - nfs h:/ rw,nolock", True),
        ("1 0 0:1 / /c rw - nfs4 h:/ rw,local_lock=all", True),
        ("1 0 0:1 / /c rw - nfs h:/ rw,local_lock=flock", True),
        ("1 0 0:1 / /c rw - nfs4 h:/ rw,local_lock=none", False),
        ("1 0 0:1 / /c rw - lustre h:/ rw", True),
        ("1 0 0:1 / /c rw - lustre h:/ rw,flock", False),
        ("1 0 0:1 / /c rw - ext4 /dev/sda rw", False),
    ],
)
def test_mounts_that_keep_locks_to_themselves_are_told(line: str, is_fault: bool) -> None:
    (mount,) = parse_mounts(line)
    assert (find_mount_fault(mount) is not None) == is_fault


def test_where_flock_does_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file system here lacks it, so the call itself is taken away."""
    write_deep_gemm(tmp_path, cubin=make_cubin())
    monkeypatch.setattr(fcntl, "flock", lambda fd, operation: None)
    (found,) = find("deep_gemm", tmp_path)
    assert (found.rule, found.message) == ("root-no-flock", "two holders get the same flock")


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    (found,) = find("deep_gemm", tmp_path / "root")
    assert (found.rule, "Not a directory" in found.message) == ("cache-unreadable", True)


def test_links_that_lead_outside_are_told_and_others_not(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "inside").symlink_to(root)
    (root / "outside").symlink_to("/etc")
    (found,) = find("deep_gemm", root)
    assert (found.rule, found.path) == ("cache-link-outside", f"{root}/outside")

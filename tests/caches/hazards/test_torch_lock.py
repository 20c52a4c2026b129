from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.caches.hazards.find import find
from warmup.caches.hazards.torch_lock import find_holder, repair

# As torch 2.13.0, utils/file_baton.py, takes it; then it says so and waits to be killed.
HOLDER = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_CREAT | os.O_EXCL)
print("held", flush=True)
sys.stdin.read()
"""


def hold(lock: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate(timeout=30)


@pytest.mark.parametrize("folder", ["rasterizer", "py311_cu130/rasterizer"])
def test_a_lock_is_stale_once_its_holder_was_killed(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    lock = tmp_path / folder / "lock"
    child = hold(lock)
    try:
        assert find_holder(lock) == child.pid
        assert find("torch_extensions", tmp_path) == []
    finally:
        end(child)
    (found,) = find("torch_extensions", tmp_path)
    assert (found.rule, found.entry, found.kernel) == ("torch-extension-lock", folder, "rasterizer")
    assert found.is_repairable
    assert repair(found) == "removed the lock"
    assert not lock.exists() and find("torch_extensions", tmp_path) == []


def test_a_lock_that_is_taken_again_meanwhile_stays(tmp_path: Path) -> None:
    folder = tmp_path / "rasterizer"
    folder.mkdir()
    (folder / "lock").touch()
    (found,) = find("torch_extensions", tmp_path)
    (folder / "lock").unlink()
    child = hold(folder / "lock")
    try:
        with pytest.raises(OSError, match="now holds"):
            repair(found)
        assert (folder / "lock").exists()
    finally:
        end(child)


def test_a_ninja_that_outlived_its_builder_is_a_holder(tmp_path: Path) -> None:
    folder = tmp_path / "rasterizer"
    folder.mkdir()
    (folder / "lock").touch()
    child = subprocess.Popen(["cat"], cwd=folder, stdin=subprocess.PIPE)
    try:
        assert find("torch_extensions", tmp_path) == []
    finally:
        child.kill()
        child.communicate(timeout=30)
    assert len(find("torch_extensions", tmp_path)) == 1


def test_links_named_lock_and_loops_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "rasterizer"
    folder.mkdir()
    (folder / "lock").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to(tmp_path)
    rules = [each.rule for each in find("torch_extensions", tmp_path)]
    assert "torch-extension-lock" not in rules
    assert os.path.lexists(folder / "lock")


def test_aiters_locks_lie_beside_their_modules(tmp_path: Path) -> None:
    folder = tmp_path / "build" / "module_norm" / "build"
    folder.mkdir(parents=True)
    lock = tmp_path / "build" / "lock_module_norm"
    child = hold(lock)
    try:
        assert find("aiter", tmp_path) == []
    finally:
        end(child)
    ninja = subprocess.Popen(["cat"], cwd=folder, stdin=subprocess.PIPE)
    try:
        assert find("aiter", tmp_path) == []
    finally:
        ninja.kill()
        ninja.communicate(timeout=30)
    (found,) = find("aiter", tmp_path)
    assert (found.entry, found.kernel) == ("build/module_norm", "module_norm")
    assert repair(found) == "removed the lock"
    assert not lock.exists()

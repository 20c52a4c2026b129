from __future__ import annotations

import errno
import fcntl
import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.state.helpers import make_home, run_as_nobody
from warmup.state import host_check
from warmup.state.home import Home
from warmup.state.host_check import HostCheck


def get_levels(found: list[HostCheck]) -> dict[str, str]:
    return {each.name: each.level for each in found}


def list_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_a_home_not_made_yet_is_not_made(tmp_path: Path) -> None:
    home = Home(tmp_path / "new")
    [finding] = host_check.check_home(home)
    assert finding.level == "ok"
    assert host_check.check_locks(home)[0].level == "ok"
    assert not home.path.exists()


def test_a_home_open_to_others(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    home.path.chmod(0o777)
    [finding] = host_check.check_home(Home(home.path))
    assert (finding.level, "777" in finding.detail) == ("fail", True)


def test_a_home_that_may_only_be_read(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    for folder in home.folders:
        folder.chmod(0o555)
    for parent in (tmp_path, *list(tmp_path.parents)[:3]):  # pytest's own folders are 0700
        parent.chmod(parent.stat().st_mode | 0o055)

    def work() -> None:
        assert get_levels(host_check.check_home(home)) == {"home": "fail"}
        assert get_levels(host_check.check_locks(home)) == {"locks": "warn"}

    run_as_nobody(work)


def test_locks_that_do_not_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home(tmp_path)
    with monkeypatch.context() as patch:  # as on a mount that answers yes and does nothing
        patch.setattr(fcntl, "flock", lambda fd, operation: None)
        [finding] = host_check.check_locks(home)
    assert (finding.level, "two holders" in finding.detail) == ("fail", True)

    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    [finding] = host_check.check_locks(home)
    assert (finding.level, "No locks available" in finding.detail) == ("fail", True)
    assert list_files(home.locks) == []


def make_disk(free: int, inodes: int = 10**7, files: int = 10**8) -> SimpleNamespace:
    return SimpleNamespace(
        f_bavail=free, f_frsize=1, f_blocks=1 << 40, f_favail=inodes, f_files=files
    )


@pytest.mark.parametrize(
    ("disk", "levels"),
    [
        (make_disk(1 << 40), {"disk": "ok", "inodes": "ok"}),
        (make_disk(5 << 30), {"disk": "warn", "inodes": "ok"}),
        (make_disk(1 << 20), {"disk": "fail", "inodes": "ok"}),
        (make_disk(1 << 40, 10_000), {"disk": "ok", "inodes": "warn"}),
        (make_disk(1 << 40, 10), {"disk": "ok", "inodes": "fail"}),
        (make_disk(1 << 40, 0, 0), {"disk": "ok", "inodes": "ok"}),
    ],
)
def test_disks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    disk: SimpleNamespace,
    levels: dict[str, str],
) -> None:
    home = make_home(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    assert get_levels(host_check.check_disk(home, {"HOME": str(tmp_path)})) == levels


def test_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_check, "_SHM", tmp_path / "none")
    assert host_check.check_shm()[0].level == "warn"
    monkeypatch.setattr(host_check, "_SHM", tmp_path)
    small = SimpleNamespace(f_blocks=64 << 20, f_bavail=64 << 20, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    [finding] = host_check.check_shm()
    assert (finding.level, "--shm-size" in finding.hint) == ("warn", True)


def test_caches_others_can_write(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "TRITON_CACHE_DIR": str(tmp_path / "triton")}
    assert get_levels(host_check.check_caches(env)) == {"caches": "ok"}
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton").chmod(0o770)
    [finding] = host_check.check_caches(env)
    assert (finding.level, finding.name) == ("warn", "cache triton")
    (tmp_path / "triton").chmod(0o700)
    if os.getuid() == 0:
        os.chown(tmp_path / "triton", 65534, 65534)
        [finding] = host_check.check_caches(env)
        assert (finding.level, "belongs to user 65534" in finding.detail) == ("warn", True)


@pytest.mark.parametrize(("soft", "level"), [(65535, "ok"), (1024, "warn"), (64, "fail")])
def test_open_files(monkeypatch: pytest.MonkeyPatch, soft: int, level: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, 65535))
    assert get_levels(host_check.check_open_files()) == {"open files": level}

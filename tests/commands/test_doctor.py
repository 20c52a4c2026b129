from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.state.helpers import make_home, run_as_nobody
from warmup.commands import doctor_gpu, doctor_host
from warmup.commands.doctor import doctor
from warmup.commands.doctor_finding import Finding
from warmup.commands.session import Session
from warmup.state.gpus import GpuFacts
from warmup.state.home import Home
from warmup.supervise import gpu_memory


def get_levels(findings: list[Finding]) -> dict[str, str]:
    return {each.name: each.level for each in findings}


def list_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_this_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, env = make_home(tmp_path), {**os.environ, "HOME": str(tmp_path)}
    before = list_files(tmp_path)
    status = doctor(Session(environ={**env, "WARMUP_CI_HOME": str(home.path)}))
    lines = capsys.readouterr().out.splitlines()
    assert status == (3 if any(line.startswith("fail") for line in lines) else 0)
    assert {line.split()[0] for line in lines} <= {"ok", "warn", "fail"}
    for name in ("driver", "home", "disk", "inodes", "locks", "/dev/shm", "open files", "kernel"):
        assert any(line[6:].startswith(name) for line in lines), name
    assert list_files(tmp_path) == before


def test_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    status = doctor(
        Session(environ={"HOME": str(tmp_path), "WARMUP_CI_HOME": str(tmp_path / "file" / "home")}),
        json_output=True,
    )
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["exit_code"], status) == (1, 3, 3)
    [home] = [check for check in document["checks"] if check["name"] == "home"]
    assert home["level"] == "fail"
    assert home["hint"]


def test_a_home_not_made_yet_is_not_made(tmp_path: Path) -> None:
    home = Home(tmp_path / "new")
    [finding] = doctor_host.check_home(home)
    assert finding.level == "ok"
    assert doctor_host.check_locks(home)[0].level == "ok"
    assert not home.path.exists()


def test_a_home_open_to_others(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    home.path.chmod(0o777)
    [finding] = doctor_host.check_home(home)
    assert (finding.level, "0777" in finding.detail) == ("warn", True)


def test_a_home_that_may_only_be_read(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    for folder in home.folders:
        folder.chmod(0o555)
    for parent in (tmp_path, *list(tmp_path.parents)[:3]):  # pytest's own folders are 0700
        parent.chmod(parent.stat().st_mode | 0o055)

    def work() -> None:
        assert get_levels(doctor_host.check_home(home)) == {"home": "fail"}
        assert get_levels(doctor_host.check_locks(home)) == {"locks": "warn"}

    run_as_nobody(work)


def test_locks_that_do_not_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home(tmp_path)
    with monkeypatch.context() as patch:  # as on a mount that answers yes and does nothing
        patch.setattr(fcntl, "flock", lambda fd, operation: None)
        [finding] = doctor_host.check_locks(home)
    assert (finding.level, "two holders" in finding.detail) == ("fail", True)

    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    [finding] = doctor_host.check_locks(home)
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
    assert get_levels(doctor_host.check_disk(home, {"HOME": str(tmp_path)})) == levels


def test_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_host, "_SHM", tmp_path / "none")
    assert doctor_host.check_shm()[0].level == "warn"
    monkeypatch.setattr(doctor_host, "_SHM", tmp_path)
    small = SimpleNamespace(f_blocks=64 << 20, f_bavail=64 << 20, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    [finding] = doctor_host.check_shm()
    assert (finding.level, "--shm-size" in finding.hint) == ("warn", True)


def test_caches_others_can_write(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "TRITON_CACHE_DIR": str(tmp_path / "triton")}
    assert get_levels(doctor_host.check_caches(env)) == {"caches": "ok"}
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton").chmod(0o770)
    [finding] = doctor_host.check_caches(env)
    assert (finding.level, finding.name) == ("warn", "cache triton")
    (tmp_path / "triton").chmod(0o700)
    if os.getuid() == 0:
        os.chown(tmp_path / "triton", 65534, 65534)
        [finding] = doctor_host.check_caches(env)
        assert (finding.level, "belongs to user 65534" in finding.detail) == ("warn", True)


@pytest.mark.parametrize(("soft", "level"), [(65535, "ok"), (1024, "warn"), (64, "fail")])
def test_open_files(monkeypatch: pytest.MonkeyPatch, soft: int, level: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, 65535))
    assert get_levels(doctor_host.check_open_files()) == {"open files": level}


def test_a_kernel_that_lacks_something(monkeypatch: pytest.MonkeyPatch) -> None:
    from warmup.supervise.tree import guarantees

    monkeypatch.setattr(guarantees, "find_missing_guarantees", lambda: ["no pidfd: …"])
    assert doctor_host.check_kernel() == [Finding("warn", "kernel", "no pidfd: …")]


@pytest.mark.parametrize(
    ("facts", "levels"),
    [
        (GpuFacts(), {"driver": "ok"}),
        (GpuFacts(driver="580.95.05"), {"driver": "fail"}),
        (
            GpuFacts(driver="580.95.05", names="NVIDIA H200", compute_capability="9.0"),
            {"driver": "ok", "nvcc": "warn"},
        ),
    ],
)
def test_drivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: GpuFacts, levels: dict[str, str]
) -> None:
    monkeypatch.setattr(doctor_gpu, "read_gpus", lambda: facts)
    env = {"CUDA_HOME": str(tmp_path)}
    assert get_levels(doctor_gpu.check_driver(env)) == levels


def test_what_holds_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(pids: tuple[int, ...], used: int) -> gpu_memory.Gpu:
        return gpu_memory.Gpu(
            index=0, uuid="u", name="H200", used_bytes=used, total_bytes=141 << 30, pids=pids
        )

    monkeypatch.setattr(gpu_memory, "read_gpus", lambda: [make((os.getpid(),), 1 << 20)])
    [finding] = doctor_gpu.check_gpu_processes()
    assert (finding.level, f"pid {os.getpid()}" in finding.detail) == ("warn", True)
    monkeypatch.setattr(gpu_memory, "read_gpus", lambda: [make((), 100 << 30)])
    [finding] = doctor_gpu.check_gpu_processes()
    assert (finding.level, "cannot be seen" in finding.detail) == ("warn", True)
    monkeypatch.setattr(gpu_memory, "read_gpus", lambda: [make((), 1 << 20)])
    assert get_levels(doctor_gpu.check_gpu_processes()) == {"gpu processes": "ok"}
    monkeypatch.setattr(gpu_memory, "read_gpus", list)
    assert doctor_gpu.check_gpu_processes() == []

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.state.helpers import make_home
from warmup.commands.doctor import check_gpu_processes, check_kernel, doctor
from warmup.commands.session import Session
from warmup.state.host_check import HostCheck
from warmup.supervise import gpu_memory


def get_levels(found: list[HostCheck]) -> dict[str, str]:
    return {each.name: each.level for each in found}


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


def test_a_kernel_that_lacks_something(monkeypatch: pytest.MonkeyPatch) -> None:
    from warmup.supervise import api

    monkeypatch.setattr(api, "find_missing_guarantees", lambda: ["no pidfd: …"])
    assert check_kernel() == [HostCheck("warn", "kernel", "no pidfd: …")]


def test_what_holds_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(pids: tuple[int, ...], used: int) -> gpu_memory.Gpu:
        return gpu_memory.Gpu(
            index=0, uuid="u", name="H200", used_bytes=used, total_bytes=141 << 30, pids=pids
        )

    monkeypatch.setattr("warmup.supervise.api.read_gpus", lambda: [make((os.getpid(),), 1 << 20)])
    [finding] = check_gpu_processes()
    assert (finding.level, f"pid {os.getpid()}" in finding.detail) == ("warn", True)
    monkeypatch.setattr("warmup.supervise.api.read_gpus", lambda: [make((), 100 << 30)])
    [finding] = check_gpu_processes()
    assert (finding.level, "cannot be seen" in finding.detail) == ("warn", True)
    monkeypatch.setattr("warmup.supervise.api.read_gpus", lambda: [make((), 1 << 20)])
    assert get_levels(check_gpu_processes()) == {"gpu processes": "ok"}
    monkeypatch.setattr("warmup.supervise.api.read_gpus", list)
    assert check_gpu_processes() == []


def test_the_gate_lets_a_fit_host_pass_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"HOME": str(tmp_path), "WARMUP_CI_HOME": str(make_home(tmp_path).path)}
    status = doctor(Session(environ=environ), gate=True, json_output=True)
    document = json.loads(capsys.readouterr().out)
    assert status == document["exit_code"]
    assert document["verdict"] == ("fit" if status == 0 else "unfit")
    assert bool(document["reasons"]) == (status == 3)


def test_the_gate_stops_where_others_may_change_a_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning to a user, and a reason to give the runner no jobs."""
    cache = tmp_path / "triton"
    cache.mkdir()
    cache.chmod(0o777)
    environ = {"HOME": str(tmp_path), "TRITON_CACHE_DIR": str(cache)}
    assert doctor(Session(environ=environ), gate=True, json_output=True) == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["verdict"]) == (3, "unfit")
    assert any("is writable by others" in reason for reason in document["reasons"])


def test_the_gate_stops_where_memory_is_held_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def give(pids: tuple[int, ...]) -> list[bool]:
        gpu = gpu_memory.Gpu(
            index=0, uuid="u", name="H200", used_bytes=90 << 30, total_bytes=141 << 30, pids=pids
        )
        monkeypatch.setattr("warmup.supervise.api.read_gpus", lambda: [gpu])
        return [each.is_unsafe for each in check_gpu_processes()]

    assert give(()) == [True]
    assert give((os.getpid(),)) == [False]

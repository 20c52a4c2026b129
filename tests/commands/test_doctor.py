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
    from warmup.supervise.tree import guarantees

    monkeypatch.setattr(guarantees, "find_missing_guarantees", lambda: ["no pidfd: …"])
    assert check_kernel() == [HostCheck("warn", "kernel", "no pidfd: …")]


def test_what_holds_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(pids: tuple[int, ...], used: int) -> gpu_memory.Gpu:
        return gpu_memory.Gpu(
            index=0, uuid="u", name="H200", used_bytes=used, total_bytes=141 << 30, pids=pids
        )

    monkeypatch.setattr(gpu_memory, "read_gpus", lambda: [make((os.getpid(),), 1 << 20)])
    [finding] = check_gpu_processes()
    assert (finding.level, f"pid {os.getpid()}" in finding.detail) == ("warn", True)
    monkeypatch.setattr(gpu_memory, "read_gpus", lambda: [make((), 100 << 30)])
    [finding] = check_gpu_processes()
    assert (finding.level, "cannot be seen" in finding.detail) == ("warn", True)
    monkeypatch.setattr(gpu_memory, "read_gpus", lambda: [make((), 1 << 20)])
    assert get_levels(check_gpu_processes()) == {"gpu processes": "ok"}
    monkeypatch.setattr(gpu_memory, "read_gpus", list)
    assert check_gpu_processes() == []

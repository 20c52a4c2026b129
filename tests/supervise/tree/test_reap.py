"""`reap` by ledger: whom it ends, and whom it must not."""

from __future__ import annotations

import dataclasses
import os
import resource
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands.program import call
from tests.races import exchange
from tests.supervise.trees import (
    DEADLINE_S,
    end,
    list_bearers,
    read_ledger,
    reap_home,
    reap_orphans,
    spawn_nasty_run,
)
from warmup.supervise.tree import cookie, ledger, proc
from warmup.supervise.tree.reap import ReapedRun, reap_runs
from warmup.words.files import Folder
from warmup.words.locks import Lock, try_lock

_COOKIE = cookie.find_new_cookie() or 0


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """A process of server 3 of the run with _COOKIE."""
    limits = (_COOKIE + 3, resource.RLIM_INFINITY)
    process = subprocess.Popen(
        ["sleep", "60"], preexec_fn=lambda: resource.setrlimit(10, limits), start_new_session=True
    )
    yield process
    process.kill()
    process.wait(DEADLINE_S)


def write_run(home: Path, **changes: Any) -> Path:
    """An unfinished run of this boot whose orchestrator, pid 4194304, cannot exist."""
    run_dir = home / "runs" / "r1"
    with Folder.open(run_dir, create=True) as folder:
        os.close(folder.create_file(ledger.LOCK_NAME))
        book = ledger.Ledger(
            run_id="r1",
            boot_id=ledger.get_boot_id(),
            pid_namespace=ledger.get_pid_namespace(),
            cookie=_COOKIE,
            orchestrator=ledger.Process(1 << 22, 1),
        )
        ledger.write(folder, dataclasses.replace(book, **changes))
    return run_dir


def held(lock: Lock | None) -> Lock:
    assert lock is not None
    return lock


def reap_one(home: Path, said: list[str]) -> ReapedRun:
    (run,) = reap_home(home, said.append).runs
    return run


def test_what_a_dead_run_left_is_ended(
    tmp_path: Path, said: list[str], worker: subprocess.Popen[bytes]
) -> None:
    run_dir = write_run(tmp_path)
    run = reap_one(tmp_path, said)
    assert run == ReapedRun("r1", "cleared", killed=((worker.pid, "sleep 60"),))
    assert not proc.is_living(worker.pid)
    assert read_ledger(run_dir).finished
    assert reap_one(tmp_path, said) == ReapedRun("r1", "finished")
    assert said == []


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"finished": True}, "finished"),
        ({"boot_id": "6f0e4b0a-0000-0000-0000-000000000000"}, "gone"),
        ({"pid_namespace": 1}, "elsewhere"),
        ({"orchestrator": ledger.get_process(os.getpid())}, "running"),
        ({"cookie": 0}, "unreadable"),
        ({"cookie": 1000}, "unreadable"),
        ({"schema": 2}, "unreadable"),
    ],
)
def test_what_is_not_known_to_be_ours_and_dead_is_left_alone(
    tmp_path: Path,
    said: list[str],
    worker: subprocess.Popen[bytes],
    changes: dict[str, object],
    state: str,
) -> None:
    run_dir = write_run(tmp_path, **changes)
    before = (run_dir / ledger.LEDGER_NAME).read_bytes()
    run = reap_one(tmp_path, said)
    assert (run.state, run.killed) == (state, ())
    assert worker.poll() is None
    assert (run_dir / ledger.LEDGER_NAME).read_bytes() == before
    assert len(said) == (state in ("unreadable", "elsewhere"))


def test_a_held_lock_is_proof_of_life(
    tmp_path: Path, said: list[str], worker: subprocess.Popen[bytes]
) -> None:
    run_dir = write_run(tmp_path)
    with Folder.open(run_dir) as folder, held(try_lock(folder, ledger.LOCK_NAME)):
        assert reap_one(tmp_path, said) == ReapedRun("r1", "running")
    assert worker.poll() is None


def test_a_lock_that_was_removed_keeps_nothing(
    tmp_path: Path, said: list[str], worker: subprocess.Popen[bytes]
) -> None:
    (write_run(tmp_path) / ledger.LOCK_NAME).unlink()
    assert reap_one(tmp_path, said).state == "cleared"
    assert not proc.is_living(worker.pid)


def test_recycled_pids_in_a_stale_ledger_are_harmless(tmp_path: Path, said: list[str]) -> None:
    """Every pid of the ledger has become a foreign process's; the cookie has not."""
    foreign = subprocess.Popen(["sleep", "60"], start_new_session=True)
    old = ledger.Process(foreign.pid, 1)
    write_run(tmp_path, orchestrator=old, servers=(ledger.ServerEntry(old, old),))
    assert reap_one(tmp_path, said) == ReapedRun("r1", "cleared")
    assert foreign.poll() is None
    foreign.kill()
    foreign.wait(DEADLINE_S)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[]", b'{"run_id": 1}'])
def test_a_corrupt_ledger_is_reported_and_kept(
    tmp_path: Path, said: list[str], worker: subprocess.Popen[bytes], data: bytes
) -> None:
    path = write_run(tmp_path) / ledger.LEDGER_NAME
    path.write_bytes(data)
    assert reap_one(tmp_path, said).state == "unreadable"
    assert path.read_bytes() == data
    assert worker.poll() is None
    assert said[0].startswith("run r1: unreadable ledger: ")
    assert reap_home(tmp_path, said.append).has_findings


def test_a_ledger_that_is_a_folder_is_reported(tmp_path: Path, said: list[str]) -> None:
    path = write_run(tmp_path) / ledger.LEDGER_NAME
    path.unlink()
    path.mkdir()
    assert reap_one(tmp_path, said).state == "unreadable"


def test_folders_without_a_ledger_are_no_runs(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "runs" / "r0").mkdir(parents=True)
    (tmp_path / "runs" / "file").write_text("")
    assert reap_home(tmp_path, said.append).runs == ()


def test_a_home_without_runs_and_one_whose_runs_are_a_file(tmp_path: Path) -> None:
    done = call(tmp_path, "reap")
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "runs").write_text("")
    done = call(tmp_path, "reap")
    assert done.returncode == 3
    assert "error: home" in done.stderr


def test_a_folder_that_takes_the_place_of_runs_is_not_acted_on(
    tmp_path: Path, said: list[str], worker: subprocess.Popen[bytes]
) -> None:
    """Another home's, whose run is none of ours, though it belongs to the same user (F8)."""
    (tmp_path / "own" / "runs").mkdir(parents=True)
    write_run(tmp_path / "other")
    with Folder.open(tmp_path / "own" / "runs") as runs:
        exchange(tmp_path / "own" / "runs", tmp_path / "other" / "runs")
        assert reap_runs(runs, said.append).runs == ()
    assert worker.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file to another user")
@pytest.mark.parametrize("what", ["runs", "runs/r1", "runs/r1/ledger.json"])
def test_a_ledger_that_another_user_may_have_written_ends_nobody(
    tmp_path: Path, said: list[str], worker: subprocess.Popen[bytes], what: str
) -> None:
    write_run(tmp_path)
    os.chown(tmp_path / what, 65534, 65534)
    run = reap_one(tmp_path, said)
    assert (run.state, run.killed) == ("foreign", ())
    assert worker.poll() is None
    assert len(said) == 1


def test_a_folder_that_others_may_write_in_ends_nobody(
    tmp_path: Path, said: list[str], worker: subprocess.Popen[bytes]
) -> None:
    write_run(tmp_path).chmod(0o777)
    assert reap_one(tmp_path, said).state == "foreign"
    assert worker.poll() is None


def test_a_forged_ledger_does_not_end_a_living_run(tmp_path: Path, said: list[str]) -> None:
    """Another home's ledger names the cookie of a run that goes on."""
    (tmp_path / "victim").mkdir()
    run_dir, orchestrator = spawn_nasty_run(tmp_path / "victim")
    before = list_bearers(run_dir)
    write_run(tmp_path / "forged", cookie=read_ledger(run_dir).cookie - 3)
    run = reap_one(tmp_path / "forged", said)
    assert (run.state, run.killed) == ("running", ())
    assert list_bearers(run_dir) == before
    orchestrator.terminate()
    end(orchestrator)
    reap_orphans()


@pytest.mark.parametrize("kind", ["fifo", "zero", "link"])
def test_a_ledger_that_is_not_a_regular_file_is_reported_at_once(
    tmp_path: Path, said: list[str], kind: str
) -> None:
    path = write_run(tmp_path) / ledger.LEDGER_NAME
    path.rename(tmp_path / "real")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero":
        if os.geteuid() != 0:
            pytest.skip("needs root to make a device")
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    else:
        path.symlink_to(tmp_path / "real")
    assert reap_one(tmp_path, said).state in ("unreadable", "foreign")


def test_a_ledger_without_an_end_is_not_read_whole(tmp_path: Path, said: list[str]) -> None:
    path = write_run(tmp_path) / ledger.LEDGER_NAME
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # a hole
    assert reap_one(tmp_path, said).state == "unreadable"

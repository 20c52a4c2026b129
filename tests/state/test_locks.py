from __future__ import annotations

import errno
import fcntl
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.state.helpers import DEADLINE_S, make_home
from warmup.state.home import Home
from warmup.state.locks import hold_launch_lock
from warmup.words.errors import Cancelled, HostError, WarmupError

HOLDER = """
import sys, time
from pathlib import Path
from warmup.state.home import Home
from warmup.state.locks import hold_launch_lock
with hold_launch_lock(Home(Path(sys.argv[1])), "abc"):
    print("held", flush=True)
    sys.stdin.read()
"""
# Each holder appends, waits, and appends again; overlapping holders would interleave.
RACER = """
import sys, time
from pathlib import Path
from warmup.state.home import Home
from warmup.state.locks import hold_launch_lock
home, out = Home(Path(sys.argv[1])), Path(sys.argv[2])
for _ in range(20):
    with hold_launch_lock(home, "abc", wait=lambda seconds: time.sleep(0.001)):
        with out.open("a") as file:
            file.write("in\\n")
            file.flush()
            time.sleep(0.0005)
            file.write("out\\n")
"""


def start_holder(home: Home) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate(timeout=DEADLINE_S)


def test_two_processes_never_hold_it_together(tmp_path: Path) -> None:
    home, out = make_home(tmp_path), tmp_path / "out"
    command = [sys.executable, "-c", RACER, str(home.path), str(out)]
    racers = [subprocess.Popen(command) for _ in range(2)]
    assert [racer.wait(timeout=DEADLINE_S) for racer in racers] == [0, 0]
    assert out.read_text() == "in\nout\n" * 40


def test_waiting_names_the_holder_and_ends_at_the_deadline(tmp_path: Path) -> None:
    home, told = make_home(tmp_path), list[str]()
    child = start_holder(home)
    try:
        with (
            pytest.raises(WarmupError, match="another run") as caught,
            hold_launch_lock(home, "abc", deadline=time.monotonic() + 0.3, on_wait=told.append),
        ):
            pytest.fail("it was held by another process")
    finally:
        end(child)
    assert told == [f"process {child.pid}"]
    assert str(child.pid) in (caught.value.cause or "")
    assert caught.value.exit_status == 1


def test_another_launch_does_not_wait(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    with (
        hold_launch_lock(home, "abc"),
        hold_launch_lock(home, "def", deadline=time.monotonic(), on_wait=pytest.fail),
    ):
        pass


def test_a_killed_holder_frees_it(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    child = start_holder(home)
    try:
        child.send_signal(signal.SIGKILL)
        with hold_launch_lock(home, "abc", deadline=time.monotonic() + DEADLINE_S) as lock:
            assert lock.path.exists()
    finally:
        end(child)
    assert lock.path.exists(), "a lock file is never unlinked"


def test_what_the_waiter_raises_ends_the_waiting(tmp_path: Path) -> None:
    home = make_home(tmp_path)

    def cancel(seconds: float) -> None:
        raise Cancelled(15, "SIGTERM")

    child = start_holder(home)
    try:
        with pytest.raises(Cancelled), hold_launch_lock(home, "abc", wait=cancel):
            pytest.fail("it was held by another process")
    finally:
        end(child)


def test_a_home_removed_meanwhile_is_noticed(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    child = start_holder(home)
    waits, got = threading.Event(), threading.Event()

    def wait_for_it() -> None:
        deadline = time.monotonic() + DEADLINE_S
        with hold_launch_lock(
            home, "abc", deadline=deadline, on_wait=lambda holder: waits.set()
        ) as lock:
            with lock.path.open("rb") as current, pytest.raises(BlockingIOError):
                fcntl.flock(current, fcntl.LOCK_EX | fcntl.LOCK_NB)
            got.set()

    waiter = threading.Thread(target=wait_for_it)
    try:
        waiter.start()
        assert waits.wait(DEADLINE_S)
        shutil.rmtree(home.path)
        home.ensure()
    finally:
        end(child)
    waiter.join(DEADLINE_S)
    assert got.is_set()


def test_a_filesystem_without_flock_is_told_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    home = make_home(tmp_path)
    with pytest.raises(HostError, match="file locks") as caught, hold_launch_lock(home, "abc"):
        pytest.fail("no lock was taken")
    assert caught.value.exit_status == 3


def test_a_locks_folder_that_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(HostError, match="home is not there"),
        hold_launch_lock(Home(tmp_path / "none"), "abc"),
    ):
        pytest.fail("no lock was taken")

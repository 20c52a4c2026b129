from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from warmup.words.errors import HostError
from warmup.words.files import Folder
from warmup.words.locks import create_lock, find_flock_fault, get_holder, is_held, try_lock

HOLDER = """
import os, sys
from pathlib import Path
from warmup.words.files import Folder
from warmup.words.locks import try_lock
lock = try_lock(Folder.open(Path(sys.argv[1])), "a.lock")
if lock is not None:
    lock.sign()
ready, tell = os.pipe()
child = os.fork() if sys.argv[2] == "fork" else -1
if child == 0:
    os.write(tell, b".")  # it runs, so it has let go
elif child > 0:
    os.read(ready, 1)
if child != 0:
    print(child, lock is not None, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.open(tmp_path)


def start_holder(folder: Folder, kind: str = "") -> tuple[subprocess.Popen[str], int]:
    """A process that holds `a.lock` until its stdin ends, and the child that it forked or -1."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder.path), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    forked, is_taken = child.stdout.readline().split()
    assert is_taken == "True"
    return child, int(forked)


def test_one_holder_at_a_time_in_this_process_too(folder: Folder) -> None:
    lock = try_lock(folder, "a.lock")
    assert lock is not None
    assert try_lock(folder, "a.lock") is None
    assert is_held(folder, "a.lock")
    lock.close()
    lock.close()
    assert not is_held(folder, "a.lock")
    assert os.stat("a.lock", dir_fd=folder.fd).st_mode & 0o777 == 0o600
    with try_lock(folder, "a.lock") or pytest.fail("it is free"):
        pass


def test_a_holder_is_named_and_frees_it_by_dying(folder: Folder) -> None:
    holder, _ = start_holder(folder)
    try:
        assert try_lock(folder, "a.lock") is None
        assert is_held(folder, "a.lock")
        assert get_holder(folder, "a.lock") == f"process {holder.pid}"
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate(timeout=30)
    assert not is_held(folder, "a.lock")
    with try_lock(folder, "a.lock") or pytest.fail("it is free"):
        pass


def test_a_forked_child_does_not_hold_what_its_dead_parent_held(folder: Folder) -> None:
    holder, forked = start_holder(folder, "fork")
    try:
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=30)
        os.kill(forked, 0)  # it lives on
        assert not is_held(folder, "a.lock")
        with try_lock(folder, "a.lock") or pytest.fail("its parent is dead"):
            pass
    finally:
        holder.communicate(timeout=30)  # its stdin ends, and with it the child


def test_a_missing_file_without_create(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        try_lock(folder, "a.lock", create=False)
    assert not is_held(folder, "a.lock")
    assert get_holder(folder, "a.lock") == "another run"
    assert folder.list_names() == []


def test_a_look_does_not_cost_a_patient_holder_its_lock(folder: Folder) -> None:
    """What `is_held` does for a moment, held until the other is seen to be refused."""
    (folder.path / "a.lock").touch()
    looking = os.open(folder.path / "a.lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    assert not is_held(folder, "a.lock"), "two looks do not see each other"
    assert try_lock(folder, "a.lock") is None
    timer = threading.Timer(0.05, os.close, [looking])
    timer.start()
    lock = try_lock(folder, "a.lock", patience_s=30)
    timer.join()
    assert lock is not None
    lock.close()


def test_a_file_replaced_while_it_was_opened_is_not_the_lock(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, replaced = fcntl.flock, list[str]()

    def replace(fd: int, operation: int) -> None:
        if not replaced:
            replaced.append("a.lock")
            os.unlink("a.lock", dir_fd=folder.fd)
        take(fd, operation)

    monkeypatch.setattr(fcntl, "flock", replace)
    with try_lock(folder, "a.lock") or pytest.fail("it is free"):
        assert is_held(folder, "a.lock"), "it holds the file that others find"


@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo", "folder"])
def test_what_we_did_not_make_is_refused_and_left_as_it_is(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    foreign = tmp_path_factory.mktemp("foreign") / "precious"
    foreign.write_text("precious")
    path = folder.path / "a.lock"
    if kind == "symlink":
        path.symlink_to(foreign)
    elif kind == "hard link":
        os.link(foreign, path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(HostError) as caught:
        try_lock(folder, "a.lock")
    assert str(path) in caught.value.what
    assert caught.value.cause
    assert caught.value.exit_status == 3
    assert not is_held(folder, "a.lock")
    assert foreign.read_text() == "precious"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_without_flock_no_softer_lock_is_taken(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """filelock itself answers ENOSYS with its SoftFileLock, and a warning."""

    def refuse(fd: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with warnings.catch_warnings(), pytest.raises(HostError, match="file locks") as caught:
        warnings.simplefilter("error")
        try_lock(folder, "a.lock")
    assert os.strerror(number) in (caught.value.cause or "")
    assert caught.value.exit_status == 3
    assert is_held(folder, "a.lock"), "where nobody can tell, a run counts as alive"


def test_a_new_file_is_locked_by_whoever_made_it(folder: Folder) -> None:
    lock = create_lock(folder, "new.lock")
    assert lock is not None
    with lock:
        assert is_held(folder, "new.lock")
        assert try_lock(folder, "new.lock") is None
        assert create_lock(folder, "new.lock") is None
    with try_lock(folder, "new.lock") or pytest.fail("it is free again"):
        assert create_lock(folder, "new.lock") is None


def test_a_new_file_is_not_locked_without_flock(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(HostError, match="file locks"):
        create_lock(folder, "new.lock")


def test_flock_excludes_here_also_while_another_holds_it(tmp_path: Path) -> None:
    assert find_flock_fault(tmp_path) is None
    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert find_flock_fault(tmp_path) is None
    os.close(fd)
    assert find_flock_fault(tmp_path / "missing") is None
    assert list(tmp_path.iterdir()) == []

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.races import exchange
from tests.supervise.toys import DEADLINE_S
from warmup.supervise.log import file as log_file
from warmup.supervise.log.file import LogFile
from warmup.supervise.log.tail import read_tail
from warmup.supervise.log.watch import LogWatch
from warmup.words.files import Folder
from warmup.words.secrets import Redactor

WRITER = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for i in range(int(sys.argv[2])):
    os.write(fd, b"line %08d %s\\n" % (i, b"x" * 1000))
"""


def get_disk_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


def append(path: Path, first: int, num_lines: int) -> None:
    with path.open("ab") as log:
        log.writelines(
            b"line %08d %s\n" % (i, b"x" * 1000) for i in range(first, first + num_lines)
        )


@pytest.fixture(params=["punch-hole", "no punch-hole"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the filesystem's own means, and as on one that has none."""

    def refuse(fd: int, start: int, num_bytes: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    if request.param == "no punch-hole":
        monkeypatch.setattr(log_file, "_punch_hole", refuse)


@pytest.mark.usefixtures("_way")
def test_head_and_tail_stay_and_the_middle_goes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(path, 200_000)
    for first in range(0, 5000, 50):
        append(path, first, 50)
        assert log.trim() is None
        assert get_disk_bytes(path) <= 200_000 + 3 * 4096
    assert path.stat().st_size == 5000 * 1015
    tail = read_tail(path, max_lines=3, redactor=Redactor())
    assert [line[:13] for line in tail.lines] == [f"line {i:08d}" for i in (4997, 4998, 4999)]
    with path.open("rb") as text:
        assert text.readline().startswith(b"line 00000000")


@pytest.mark.usefixtures("_way")
def test_the_tail_says_how_much_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, 0, 1000)
    LogFile(path, 40_000).trim()
    lines = read_tail(path, max_lines=1000, redactor=Redactor()).lines
    (dropped,) = [line for line in lines if "dropped" in line]
    num_missing = int(dropped.split()[1])
    assert dropped == f"[… {num_missing} bytes dropped …]"
    assert 20_000 <= 1_015_000 - num_missing <= 40_000


def test_a_swapped_folder_redirects_neither_reads_nor_holes(tmp_path: Path) -> None:
    """By the folder's descriptor: what is put in its place holds a log of the same name (F3)."""
    run_dir, victim = tmp_path / "run", tmp_path / "victim"
    for folder, first in ((run_dir, 0), (victim, 5000)):
        folder.mkdir()
        append(folder / "log", first, 200)
    path, precious = run_dir / "log", (victim / "log").read_bytes()
    pattern = "line 00005"
    with Folder.open(run_dir) as held:
        log = LogFile(path, 20_000, dir_fd=held.fd)
        watch = LogWatch(path, [pattern], dir_fd=held.fd)
        tail = read_tail(path, redactor=Redactor(), dir_fd=held.fd)
        exchange(run_dir, victim)
        assert LogWatch(path, [pattern]).poll() is not None  # what the name alone would lead to
        assert log.trim() is None
        assert watch.poll() is None
        assert watch.last_line().startswith("line 00000199")
        assert watch.read_tail(3).lines == tail.lines[-3:]
        assert watch.find_size() == (victim / "log").stat().st_size
    assert path.read_bytes() == precious
    assert get_disk_bytes(path) >= 200_000
    assert get_disk_bytes(victim / "log") <= 20_000 + 3 * 4096


def test_small_and_missing_logs_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(path, 100_000)
    assert log.trim() is None
    append(path, 0, 90)
    before = path.read_bytes()
    assert log.trim() is None
    assert path.read_bytes() == before


def test_bound_holds_while_a_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    log = LogFile(path, 1_000_000)
    argv = [sys.executable, "-I", "-S", "-c", WRITER, str(path), "50000"]
    with subprocess.Popen(argv) as writer:
        while writer.poll() is None:
            log.trim()
        assert writer.wait(DEADLINE_S) == 0
    log.trim()
    assert path.stat().st_size == 50_000 * 1015
    assert get_disk_bytes(path) <= 1_000_000 + 3 * 4096
    # every byte that is left is where the writer put it
    last = read_tail(path, max_lines=1, redactor=Redactor()).lines[0]
    assert last.startswith("line 00049999 xxx")


def test_server_that_truncates_its_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(path, 50_000)
    for _ in range(3):
        append(path, 0, 200)
        log.trim()
        assert get_disk_bytes(path) <= 50_000 + 3 * 4096
        os.truncate(path, 0)


def test_what_cannot_be_bounded_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, start: int, num_bytes: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(log_file, "_punch_hole", fail)
    path = tmp_path / "log"
    append(path, 0, 100)
    log = LogFile(path, 20_000)
    assert log.trim() == f"size of {path} is not bounded: Input/output error"
    assert log.trim() is None


def test_trim_from_a_thread_while_another_appends(tmp_path: Path) -> None:
    """Nothing that is written during a punch is lost."""
    path = tmp_path / "log"
    path.touch()
    done = threading.Event()
    log = LogFile(path, 100_000)

    def trim() -> None:
        while not done.is_set():
            log.trim()

    thread = threading.Thread(target=trim)
    thread.start()
    append(path, 0, 5000)
    done.set()
    thread.join(DEADLINE_S)
    assert path.stat().st_size == 5000 * 1015

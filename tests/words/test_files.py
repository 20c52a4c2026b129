from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.state.helpers import DEADLINE_S, wait_until
from warmup.words.files import Folder, write_atomic

WRITER = """
import sys
from pathlib import Path
from warmup.words.files import write_atomic
path = Path(sys.argv[1])
for number in range(1_000_000):
    write_atomic(path, b"%d " % (number % 10) * 50_000)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty one."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def test_a_file_is_replaced_whole_and_private(folder: Path) -> None:
    path = folder / "marker.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new" * 100_000)
    assert path.read_bytes() == b"new" * 100_000
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(folder) == ["marker.json"]


def test_a_name_as_long_as_names_may_be(folder: Path) -> None:
    write_atomic(folder / ("x" * 255), b"data")
    assert names(folder) == ["x" * 255]


def test_a_folder_in_the_way_leaves_nothing_behind(folder: Path) -> None:
    (folder / "marker.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(folder / "marker.json", b"data")
    assert names(folder) == ["marker.json"]


def test_a_missing_folder(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(folder / "none" / "marker.json", b"data")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> object:
    """A real filesystem of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "warmup-ci-test", str(disk)]
    try:
        done = subprocess.run(
            mount, capture_output=True, text=True, check=False, timeout=DEADLINE_S
        )
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True, timeout=DEADLINE_S)


def test_a_full_disk_keeps_the_old_file(tiny_disk: Path) -> None:
    path = tiny_disk / "marker.json"
    write_atomic(path, b"old")
    with pytest.raises(OSError, match="No space") as caught:
        write_atomic(path, b"x" * 200_000)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert names(tiny_disk) == ["marker.json"]


def test_a_killed_writer_leaves_a_whole_file_and_at_most_a_temporary(folder: Path) -> None:
    path = folder / "marker.json"
    for attempt in range(20):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
        try:
            path.unlink(missing_ok=True)
            wait_until(path.exists)
            time.sleep(attempt * 0.0007)  # to hit another instruction each time
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait(timeout=DEADLINE_S)
        data = path.read_bytes()
        assert data == data[:2] * 50_000
    left = [name for name in names(folder) if name != "marker.json"]
    assert collect(folder, older_than_s=-1) == left
    assert names(folder) == ["marker.json"]


def test_collecting_takes_only_old_temporaries_of_ours(folder: Path) -> None:
    old = folder / ".warmup-ci-0123456789abcdef.tmp"
    young = folder / ".warmup-ci-fedcba9876543210.tmp"
    foreign = folder / ".something-0123.tmp"
    inner = folder / ".warmup-ci-folder.tmp"
    inner.mkdir()
    for path in (old, young, foreign):
        path.write_text("")
    for path in (old, foreign, inner):
        os.utime(path, (1, 1))
    assert collect(folder, older_than_s=60) == [old.name]
    assert names(folder) == sorted([young.name, foreign.name, inner.name])


def collect(path: Path, older_than_s: float) -> list[str]:
    with Folder.open(path) as folder:
        return folder.collect_temporaries(older_than_s)

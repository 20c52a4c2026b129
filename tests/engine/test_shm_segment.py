import mmap
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from warmup.engine.shm import segment


def _make_in_child(directory: Path, then: str) -> tuple[subprocess.Popen[str], str]:
    code = (
        "import sys; from pathlib import Path; from warmup.engine.shm import segment\n"
        "print(segment.create(memoryview(b'abc'), Path(sys.argv[1])), flush=True)\n" + then
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    return child, child.stdout.readline().strip()


def _end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate(timeout=20)


def _read(name: str, num_bytes: int, directory: Path) -> bytes:
    content = bytearray(num_bytes)
    segment.read(name, memoryview(content), directory)
    return bytes(content)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3_000_001)
    name = segment.create(memoryview(content), tmp_path)
    assert _read(name, len(content), tmp_path) == content
    assert _read(name, 10, tmp_path) == content[:10]


def test_a_segment_is_its_owners_alone(tmp_path: Path) -> None:
    name = segment.create(memoryview(b"secret"), tmp_path)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_a_segment_that_is_short_gone_or_no_file_is_an_error(tmp_path: Path) -> None:
    name = segment.create(memoryview(b"abc"), tmp_path)
    with pytest.raises(OSError, match="4 expected"):
        _read(name, 4, tmp_path)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / name)
    for other in ("gone", "fifo", "link"):
        with pytest.raises(OSError):
            _read(other, 3, tmp_path)


def test_a_full_directory_raises_and_leaves_nothing(tmp_path: Path) -> None:
    found = os.statvfs(segment.DIRECTORY)
    with (tmp_path / "sparse").open("w+b") as file:
        # A sparse file stands for more bytes than the tmpfs can ever hold, at no cost.
        file.truncate((found.f_blocks + 1) * found.f_frsize)
        huge = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with huge, memoryview(huge) as view, pytest.raises(OSError, match="No space left"):
        segment.create(view)
    assert not list(segment.DIRECTORY.glob(f"{segment.PREFIX}.*.{os.getpid()}.*"))


def test_unlinking_twice_is_fine(tmp_path: Path) -> None:
    name = segment.create(memoryview(b"abc"), tmp_path)
    segment.unlink(name, tmp_path)
    segment.unlink(name, tmp_path)


def test_an_attaching_process_that_ends_leaves_the_segment(tmp_path: Path) -> None:
    name = segment.create(memoryview(b"abc"), tmp_path)
    code = (
        "import sys; from pathlib import Path; from warmup.engine.shm import segment\n"
        "into = bytearray(3); segment.read(sys.argv[2], memoryview(into), Path(sys.argv[1]))\n"
        "print(bytes(into))"
    )
    argv = [sys.executable, "-c", code, str(tmp_path), name]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.strip() == "b'abc'"
    assert (tmp_path / name).exists()


def test_sweep_removes_what_a_killed_creator_left(tmp_path: Path) -> None:
    child, name = _make_in_child(tmp_path, "sys.stdin.read()")
    assert segment.sweep(tmp_path) == []
    child.send_signal(signal.SIGKILL)
    _end(child)
    assert segment.sweep(tmp_path) == [name]
    assert not any(tmp_path.iterdir())


def test_sweep_takes_an_unreaped_creator_for_dead(tmp_path: Path) -> None:
    child, name = _make_in_child(tmp_path, "")
    assert child.stdout is not None
    child.stdout.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert segment.sweep(tmp_path) == [name]
    _end(child)


def test_sweep_leaves_living_creators_and_strangers(tmp_path: Path) -> None:
    mine = segment.create(memoryview(b"abc"), tmp_path)
    _, namespace, pid, start_time, number = mine.split(".")[-5:]
    strangers = {
        "warmup-ci.not.one.of.ours",
        "warmup-ci.1.2.3",
        "psm_12345678",
        # A dead process of another pid namespace can't be told from a living one.
        f"warmup-ci.{int(namespace) + 1}.{pid}.{int(start_time) + 1}.{number}",
    }
    for name in strangers:
        (tmp_path / name).touch()
    assert segment.sweep(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == strangers | {mine}


def test_sweep_is_not_fooled_by_a_pid_that_was_given_again(tmp_path: Path) -> None:
    mine = segment.create(memoryview(b"abc"), tmp_path)
    prefix, namespace, pid, start_time, number = mine.rsplit(".", 4)
    older = f"{prefix}.{namespace}.{pid}.{int(start_time) - 1}.{number}"
    (tmp_path / older).touch()
    assert segment.sweep(tmp_path) == [older]
    assert (tmp_path / mine).exists()


def test_a_forked_child_signs_with_its_own_name(tmp_path: Path) -> None:
    segment.create(memoryview(b"abc"), tmp_path)
    pid = os.fork()
    if pid == 0:
        name = segment.create(memoryview(b"abc"), tmp_path)
        os._exit(0 if name.split(".")[-3] == str(os.getpid()) else 1)
    assert os.waitpid(pid, 0)[1] == 0

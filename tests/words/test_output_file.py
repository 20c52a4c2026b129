"""What a user names to be written: root must not put a file in place of a pipe or a device."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from warmup.words.output_file import write_output


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="No such device"):
        write_output(pipe, b"nobody reads")
    got: list[bytes] = []
    fd = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(fd, True)
    data = b"x" * (1 << 20)  # more than it holds

    def read() -> None:
        with os.fdopen(fd, "rb") as file:
            got.append(file.read())

    reader = threading.Thread(target=read)
    writer = threading.Thread(target=write_output, args=(pipe, data))
    writer.start()
    writer.join(0.2)
    reader.start()
    writer.join()
    reader.join()
    assert b"".join(got) == data
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


def test_a_link_is_replaced_and_what_else_lies_there_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "file")
    write_output(link, b"new")
    assert (link.read_bytes(), (tmp_path / "file").read_bytes()) == (b"new", b"old")
    null = tmp_path / "null"
    null.symlink_to("/dev/null")
    write_output(null, b"gone")
    assert null.is_symlink()
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_output(tmp_path / "folder", b"")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="neither a file"):
            write_output(tmp_path / "socket", b"")

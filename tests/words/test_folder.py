"""`Folder`: nothing outside is touched, whoever swaps what meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

import pytest

from tests.races import bound, swapping
from warmup.words.files import Folder, open_regular, read_regular


@pytest.fixture
def swapped(tmp_path: Path) -> Path:
    """A folder whose child `entry` is swapped with a link to `victim`, again and again."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("precious")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(victim)
    return root


def test_removing_survives_a_race_with_a_link(swapped: Path) -> None:
    with swapping(swapped / "entry", swapped / "link"):
        for _ in range(300):
            with contextlib.suppress(OSError):
                (swapped / "entry" / "deep").mkdir(parents=True)
            with contextlib.suppress(OSError), Folder.open(swapped) as folder:
                folder.remove("entry")
            if not (swapped / "link").is_symlink():
                with contextlib.suppress(OSError):
                    (swapped / "link").symlink_to(swapped.parent / "victim")
    assert (swapped.parent / "victim" / "precious").read_text() == "precious"


def test_writing_does_not_follow_a_link(swapped: Path) -> None:
    with Folder.open(swapped) as folder:
        folder.write_atomic("link", b"ours")
    assert (swapped / "link").read_bytes() == b"ours"
    assert not (swapped / "link").is_symlink()
    assert (swapped.parent / "victim" / "precious").read_text() == "precious"


def test_a_new_file_is_never_one_that_was_there(swapped: Path) -> None:
    (swapped / "log").symlink_to(swapped.parent / "victim" / "precious")
    with Folder.open(swapped) as folder, pytest.raises(FileExistsError):
        folder.create_file("log", append=True)


def test_a_folder_is_held_though_its_name_now_means_another(swapped: Path, tmp_path: Path) -> None:
    with Folder.open(swapped) as folder:
        swapped.rename(tmp_path / "moved")
        swapped.symlink_to(tmp_path / "victim")
        folder.write_atomic("note", b"ours")
    assert (tmp_path / "moved" / "note").read_bytes() == b"ours"
    assert not (tmp_path / "victim" / "note").exists()


def test_opening_through_a_link_is_refused(swapped: Path) -> None:
    with pytest.raises(OSError):
        Folder.open(swapped / "link")
    with Folder.open(swapped) as folder, pytest.raises(OSError):
        folder.descend("link")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\0b"])
def test_only_single_names_are_taken(name: str, tmp_path: Path) -> None:
    with Folder.open(tmp_path) as folder:
        for act in (folder.unlink, folder.remove, folder.open_file, folder.create_file):
            with pytest.raises(OSError) as caught:
                act(name)
            assert caught.value.errno == errno.EINVAL


def test_a_mount_inside_stops_a_removal(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    inside = tmp_path / "root" / "entry" / "mounted"
    inside.mkdir(parents=True)
    (inside.parent / "file").write_text("x")
    with bound(outside, inside):
        with Folder.open(tmp_path / "root") as folder, pytest.raises(OSError) as caught:
            folder.remove("entry")
        assert caught.value.errno == errno.EXDEV
        assert (inside / "precious").exists()
        assert (inside.parent / "file").exists()  # nothing of it was removed


def test_a_tree_goes_whole_with_its_links(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    tree = tmp_path / "root" / "tree" / "a" / "b"
    tree.mkdir(parents=True)
    (tree / "link").symlink_to(tmp_path)
    (tree / "file").write_text("x")
    with Folder.open(tmp_path / "root") as folder:
        assert folder.remove("tree")
        assert not folder.remove("tree")
        assert folder.list_names() == []
    assert (tmp_path / "precious").exists()


def test_a_tree_that_is_nested_too_deep_is_said(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=fd)
        deeper = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    with Folder.open(tmp_path) as folder, pytest.raises(OSError) as caught:
        folder.remove("d")
    assert caught.value.errno == errno.ELOOP


def test_who_else_may_write_is_said(tmp_path: Path) -> None:
    with Folder.open(tmp_path) as folder:
        tmp_path.chmod(0o700)
        assert folder.find_intruder() is None
        tmp_path.chmod(0o1777)
        assert folder.find_intruder() == "others may write in it: its mode is 1777"
        if os.geteuid() == 0:
            os.chown(tmp_path, 12345, -1)
            assert (folder.find_intruder() or "").startswith("uid 12345 owns it")
            os.chown(tmp_path, 0, -1)
        tmp_path.chmod(0o700)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"12345")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        for path in ("fifo", "sock", "link", "."):
            with pytest.raises(OSError):
                open_regular(tmp_path / path)
    with pytest.raises(OSError):
        read_regular("/dev/zero", 10)
    assert read_regular(tmp_path / "link", 5, follow=True) == b"12345"
    with pytest.raises(OSError) as caught:
        read_regular(tmp_path / "file", 4)
    assert caught.value.errno == errno.EFBIG

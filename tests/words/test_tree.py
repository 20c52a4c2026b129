"""`Tree`: many folders below one, none through a link, each open no longer than it is needed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.races import bound
from warmup.words.tree import Tree


def count_open() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths


def test_folders_are_opened_below_the_root_whatever_its_name_means_now(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").write_text("ours")
    with Tree(root) as tree:
        root.rename(tmp_path / "moved")
        root.mkdir()
        assert [item.name for item in tree.scan("a/b")] == ["file"]
        fd, name = tree.locate("a/b/file")
        assert os.stat(name, dir_fd=fd).st_size == 4


def test_the_root_may_be_a_link_and_nothing_below_it(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "away").symlink_to(tmp_path)
    with Tree(tmp_path / "link") as tree:
        assert tree.real == str(tmp_path / "root")
        with pytest.raises(OSError) as caught:
            tree.get_fd("away")
        assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("folder", ["..", "a/..", "/etc", "a//b", "."])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with Tree(tmp_path) as tree, pytest.raises(OSError):
        tree.get_fd(folder)


def test_another_mount_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "a").mkdir(parents=True)
    with bound(tmp_path / "outside", tmp_path / "root" / "a"):
        with Tree(tmp_path / "root") as tree, pytest.raises(OSError) as caught:
            tree.get_fd("a")
        assert caught.value.errno == errno.EXDEV


def test_few_stay_open_and_none_afterwards(tmp_path: Path) -> None:
    for index in range(300):
        (tmp_path / f"{index}" / "deep").mkdir(parents=True)
    before = count_open()
    with Tree(tmp_path) as tree:
        for index in range(300):
            tree.get_fd(f"{index}/deep")
        assert count_open() - before < 100
        tree.get_fd("0/deep")
    assert count_open() == before

from __future__ import annotations

from pathlib import Path

import pytest

from warmup.caches.remove import remove_inside


def test_files_and_folders_below_the_root_are_removed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").touch()
    (tmp_path / "a" / "file").touch()
    assert remove_inside(tmp_path, "a/file")
    assert remove_inside(tmp_path, "a/b")
    assert not remove_inside(tmp_path, "a/b")
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize("path", ["", ".", "..", "a/../../x", "/etc", "a//b", "./a"])
def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(OSError, match="not a path below"):
        remove_inside(tmp_path, path)


def test_a_link_is_removed_and_what_it_names_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "link").symlink_to(outside)
    (root / "away").symlink_to(outside)
    assert remove_inside(root, "folder")
    with pytest.raises(OSError, match="symbolic link"):
        remove_inside(root, "away/kept")
    assert remove_inside(root, "away")
    assert (outside / "kept").exists()


def test_only_folders_that_became_empty_go(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c" / "file").touch()
    (tmp_path / "a" / "stays").touch()
    assert remove_inside(tmp_path, "a/b/c/file", prune=True)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.name != "user") == [
        "a",
        "stays",
    ]

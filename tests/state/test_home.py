from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.state.helpers import exchange, make_home, run_as_nobody
from warmup.state.home import Home, get_home, make_run_id
from warmup.words.errors import HostError


def test_the_variables_in_their_order(tmp_path: Path) -> None:
    env = {"HOME": "/h", "XDG_CACHE_HOME": "/x", "WARMUP_CI_HOME": str(tmp_path)}
    assert get_home(env).path == tmp_path
    assert get_home({"HOME": "/h", "XDG_CACHE_HOME": "/x"}).path == Path("/x/warmup-ci")
    assert get_home({"HOME": "/h"}).path == Path("/h/.cache/warmup-ci")


def test_empty_and_relative_variables() -> None:
    assert get_home({"HOME": "/h", "WARMUP_CI_HOME": "", "XDG_CACHE_HOME": "x"}).path == Path(
        "/h/.cache/warmup-ci"
    )
    assert get_home({"HOME": "/h", "WARMUP_CI_HOME": "~/w"}).path == Path("/h/w")
    assert get_home({"WARMUP_CI_HOME": "a/../b"}).path == Path.cwd() / "b"


def test_ensure_makes_private_folders_under_any_umask(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "er")
    old = os.umask(0)
    try:
        assert home.is_writable()
        home.ensure()
    finally:
        os.umask(old)
    home.ensure()
    assert [folder.name for folder in home.folders[1:]] == ["markers", "manifests", "runs", "locks"]
    assert {folder.stat().st_mode & 0o7777 for folder in home.folders} == {0o700}


def test_a_run_folder_is_new_and_private(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    run_id = make_run_id()
    assert home.make_run_dir(run_id).stat().st_mode & 0o777 == 0o700
    with pytest.raises(HostError, match=run_id):
        home.make_run_dir(run_id)


def test_run_ids_differ() -> None:
    ids = {make_run_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(run_id) == len("20261121T010203Z-1a2b3c") for run_id in ids)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    home = Home(tmp_path / "home")
    assert not home.is_writable()
    with pytest.raises(HostError) as caught:
        home.ensure()
    assert str(tmp_path / "home") in caught.value.what
    assert "errno" in (caught.value.cause or "")
    assert "WARMUP_CI_HOME" in (caught.value.hint or "")
    assert caught.value.exit_status == 3


def test_a_home_that_may_only_be_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:  # pytest's own folders are 0700
        parent.chmod(parent.stat().st_mode | 0o055)
    home = Home(tmp_path / "home")
    home.ensure()
    for folder in home.folders:
        folder.chmod(0o555)

    def work() -> None:
        assert not home.is_writable()
        with pytest.raises(HostError) as caught:
            home.ensure()
        assert "Permission denied (errno 13)" in (caught.value.cause or "")
        with pytest.raises(HostError, match="fresh"):
            Home(home.path / "fresh").ensure()

    run_as_nobody(work)


@pytest.mark.parametrize("name", ["", *Home.FOLDERS])
@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o770, 0o720])
def test_a_folder_that_others_may_write_is_refused(tmp_path: Path, name: str, mode: int) -> None:
    make_home(tmp_path)
    path = tmp_path / "home" / name
    path.chmod(mode)
    home = Home(tmp_path / "home")
    for change in (True, False):
        with pytest.raises(HostError, match="not safe to use") as caught:
            home.ensure() if change else home.find_folder(name)
        assert str(path) in caught.value.what
        assert f"{mode:o}" in (caught.value.cause or "")
        assert "chmod" in (caught.value.hint or "")
        assert caught.value.exit_status == 3
    path.chmod(0o700)
    home.ensure()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", ["", *Home.FOLDERS])
def test_a_folder_of_another_user_is_refused(tmp_path: Path, name: str) -> None:
    make_home(tmp_path)
    os.chown(tmp_path / "home" / name, 65534, 65534)
    with pytest.raises(HostError, match="not safe to use") as caught:
        Home(tmp_path / "home").ensure()
    assert "uid 65534 owns it" in (caught.value.cause or "")
    os.chown(tmp_path / "home" / name, 0, 0)


@pytest.mark.parametrize("name", ["", *Home.FOLDERS])
def test_a_link_in_a_folders_place_is_refused(tmp_path: Path, name: str) -> None:
    make_home(tmp_path)
    path, aside = tmp_path / "home" / name, tmp_path / "aside"
    path.rename(aside)
    path.symlink_to(aside)
    with pytest.raises(HostError, match="not safe to use") as caught:
        Home(tmp_path / "home").ensure()
    assert caught.value.cause == "it is a symbolic link"
    assert str(aside) in (caught.value.hint or "")


def test_what_is_exchanged_after_it_was_opened_is_not_followed(tmp_path: Path) -> None:
    """The home stays the one that was opened, wherever its name leads by now."""
    home = make_home(tmp_path)
    home.get_folder("runs")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    exchange(home.runs, foreign)
    home.make_run_dir("r1")
    assert [path.name for path in foreign.iterdir()] == ["r1"], "what is now called so was opened"
    assert list(home.runs.iterdir()) == []


def test_a_home_that_is_removed_and_made_anew_is_opened_anew(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    (home.markers / "x.json").touch()
    assert home.get_folder("markers").list_names() == ["x.json"]
    shutil.rmtree(home.path)
    assert home.find_folder("markers") is None
    home.ensure()
    assert home.get_folder("markers").list_names() == []

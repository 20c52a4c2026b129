from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.state.helpers import make_home, run_as_nobody
from warmup.caches.records import Manifest, encode
from warmup.state.manifests import find_manifest, list_manifests, read_manifest
from warmup.words.errors import HostError, IntegrityError


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    "make_it", [os.mkfifo, Path.mkdir, lambda path: None, link_to_itself, link_to_zero]
)
def test_what_is_no_file_is_refused_without_blocking(tmp_path: Path, make_it: object) -> None:
    home = make_home(tmp_path)
    assert callable(make_it)
    make_it(home.manifests / "manifest.json")
    with pytest.raises(IntegrityError):
        read_manifest(home, "manifest.json")
    assert find_manifest(home, "manifest.json") is None


def test_a_manifest_that_may_not_be_read_is_not_a_missing_one(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    (home.manifests / "m.json").write_bytes(encode(Manifest({})))
    assert find_manifest(home, "m.json") == Manifest({})
    assert list_manifests(home) == ["m.json"]
    (home.manifests / "m.json").chmod(0)
    for path in (*home.folders, *home.path.parents[:4]):
        path.chmod(path.stat().st_mode | 0o055)

    def work() -> None:
        with pytest.raises(IntegrityError):
            read_manifest(home, "m.json")
        with pytest.raises(HostError, match="manifest unreadable"):
            find_manifest(home, "m.json")

    run_as_nobody(work)

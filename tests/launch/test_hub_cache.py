from __future__ import annotations

import os
from pathlib import Path

import pytest

from warmup.kernels.config import get_config_path
from warmup.kernels.shapes import NotModelledError
from warmup.launch.hub_cache import get_hub_cache
from warmup.words.errors import UsageError

NEW, OLD = "b" * 40, "a" * 40


def make_snapshot(hub: Path, model: str, commit: str, *refs: str) -> Path:
    """As huggingface_hub lays it out: a link into blobs/, and refs that name the commit."""
    folder = hub / ("models--" + model.replace("/", "--"))
    blob = folder / "blobs" / commit
    snapshot = folder / "snapshots" / commit
    for path in (blob.parent, snapshot):
        path.mkdir(parents=True, exist_ok=True)
    blob.write_text("{}")
    (snapshot / "config.json").symlink_to(os.path.relpath(blob, snapshot))
    for ref in refs:
        (folder / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
    return snapshot / "config.json"


@pytest.mark.parametrize("name", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"])
def test_the_cache_is_where_the_environment_says(tmp_path: Path, name: str) -> None:
    below = {"HF_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}
    expected = tmp_path / below.get(name, ".cache/huggingface/hub")
    assert get_hub_cache({"HOME": "/nowhere", name: str(tmp_path)}) == expected


def test_the_ref_tells_and_not_the_newest_snapshot(tmp_path: Path) -> None:
    env = {"HF_HUB_CACHE": str(tmp_path)}
    old = make_snapshot(tmp_path, "org/model", OLD, "main")
    new = make_snapshot(tmp_path, "org/model", NEW, "dev", "refs/pr/7")
    os.utime(old.parent, (1, 1))
    assert get_config_path("org/model", None, env) == old
    assert get_config_path("org/model", "dev", env) == new
    assert get_config_path("org/model", "refs/pr/7", env) == new
    assert get_config_path("org/model", NEW, env) == new


@pytest.mark.parametrize("damage", ["no ref", "dangling link", "no snapshot", "no commit"])
def test_a_part_that_is_missing_is_told(tmp_path: Path, damage: str) -> None:
    path = make_snapshot(tmp_path, "org/model", OLD, "main")
    ref = tmp_path / "models--org--model/refs/main"
    if damage == "no ref":
        ref.unlink()
    elif damage == "no commit":
        ref.write_text("../../../../etc")
    elif damage == "no snapshot":
        path.unlink()
    else:
        path.resolve().unlink()
    with pytest.raises(NotModelledError, match="the hub cache holds no config"):
        get_config_path("org/model", None, {"HF_HUB_CACHE": str(tmp_path)})


@pytest.mark.parametrize("model", ["a/b/c", "org/..", "", "a b", "x" * 97, "a--b"])
def test_what_is_no_id_is_an_error(tmp_path: Path, model: str) -> None:
    with pytest.raises(UsageError, match="neither a folder nor a hub id"):
        get_config_path(model, None, {"HF_HUB_CACHE": str(tmp_path)})


@pytest.mark.parametrize("revision", ["../../../x", "/etc/passwd", "x" * 5000])
def test_a_revision_leads_nowhere_else(tmp_path: Path, revision: str) -> None:
    make_snapshot(tmp_path, "org/model", OLD, "main")
    (tmp_path / "x").write_text(OLD)
    with pytest.raises(NotModelledError):
        get_config_path("org/model", revision, {"HF_HUB_CACHE": str(tmp_path)})

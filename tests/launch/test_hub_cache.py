from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.launch.helpers import make_launch
from warmup.kernels.config import get_config_path
from warmup.kernels.shapes import NotModelledError
from warmup.launch.engine_table import get_engine
from warmup.launch.hub_cache import HubFiles, get_hub_cache, read_hub_files
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


VLM = ("config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json")


def make_files(hub: Path, names: tuple[str, ...], index: str = "{}") -> dict[str, str]:
    """A snapshot with these files; returns the environment that finds it."""
    folder = make_snapshot(hub, "org/model", NEW, "main").parent
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(index if "index" in name else "{}")
    return {"HF_HUB_CACHE": str(hub)}


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (VLM, ()),
        (("config.json",), ("model.safetensors", "tokenizer.json", "preprocessor_config.json")),
        ((*VLM[2:], "config.json"), ("model.safetensors",)),
        ((*VLM[:2], "tokenizer_config.json", "processor_config.json"), ()),
        (
            (*VLM[2:], "model.safetensors.index.json", "1.safetensors", "3.safetensors"),
            ("2.safetensors",),
        ),
    ],
)
def test_files_that_a_model_needs_and_the_snapshot_lacks(
    tmp_path: Path, names: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    shards = '{"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "3.safetensors"}}'
    found = read_hub_files("org/model", None, make_files(tmp_path, names, shards))
    assert found.missing == missing
    assert found.is_complete(needs_weights=True) == (not missing)


def test_parts_of_a_pipeline_that_are_missing(tmp_path: Path) -> None:
    index = (
        '{"_class_name": "P", "scheduler": ["diffusers", "S"], "vae": ["diffusers", "V"],'
        ' "transformer": ["diffusers", "T"], "image_encoder": [null, null]}'
    )
    names = ("model_index.json", "scheduler/scheduler_config.json", "transformer/config.json")
    env = make_files(tmp_path, names, index)
    found = read_hub_files("org/model", "main", env)
    assert found.missing == ("vae/", "transformer/model.safetensors")
    assert found.find_missing(needs_weights=False) == ("vae/",)


def test_a_link_to_a_blob_that_is_gone_is_missing(tmp_path: Path) -> None:
    env = make_files(tmp_path, VLM)
    weights = Path(read_hub_files("org/model", None, env).snapshot) / "model.safetensors"
    weights.unlink()
    weights.symlink_to("../../blobs/gone")
    assert read_hub_files("org/model", None, env).missing == ("model.safetensors",)


def test_what_cannot_be_read_is_its_readers(tmp_path: Path) -> None:
    env = make_files(tmp_path, (*VLM, "model_index.json"), "not JSON")
    found = read_hub_files("org/model", None, env)
    assert (found.missing, found.is_complete(needs_weights=True)) == ((), True)
    launch = make_launch("reference", "org/model")
    problem = get_engine("reference").find_problem(get_engine("reference").locate(launch, env))
    assert problem is not None and "model_index.json: not valid JSON" in problem.what


def test_an_id_without_a_snapshot_has_no_files(tmp_path: Path) -> None:
    env = {"HF_HUB_CACHE": str(tmp_path)}
    assert read_hub_files("org/model", None, env) == HubFiles(
        str(tmp_path / "models--org--model"), "main"
    )
    assert not read_hub_files("org/model", None, env).is_complete(needs_weights=False)


def test_random_weights_need_none_of_the_hubs(tmp_path: Path) -> None:
    """As on a target, or with `weights = "dummy"`."""
    env = make_files(tmp_path, (*VLM[2:], "config.json"))
    config = Path(read_hub_files("org/model", None, env).snapshot) / "config.json"
    config.write_text('{"architectures": ["Qwen2VLForConditionalGeneration"]}')
    engine = get_engine("reference")
    for weights, told in (("real", "lacks model.safetensors"), ("dummy", None)):
        launch = make_launch("reference", "org/model", weights=weights)
        problem = engine.find_problem(engine.locate(launch, env))
        assert problem is None if told is None else told in str(problem)

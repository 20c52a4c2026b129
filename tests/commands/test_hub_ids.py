"""A hub id for the embedded engine: found in the hub's cache, downloaded, or what is missing."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands.program import call, call_json, get_env
from tests.needs import require
from tests.servers.hub import COMMIT, serve_hub

MODEL = "org/vl"
CONFIG = {"architectures": ["Qwen2_5_VLForConditionalGeneration"]}
FILES = ("config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json")


def make_snapshot(home: Path, *without: str) -> Path:
    """HF_HOME's layout of a model, without some of its files. Returns the snapshot."""
    repo = home / "hub" / "models--org--vl"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    for name in {*FILES} - {*without}:
        (snapshot / name).write_text(json.dumps(CONFIG) if name == "config.json" else "{}")
    return snapshot


def test_an_id_in_the_cache_is_planned_with_its_snapshot(tmp_path: Path) -> None:
    snapshot = make_snapshot(tmp_path / "hf")
    env = {"HF_HOME": str(tmp_path / "hf")}
    (planned,) = call_json(tmp_path, "plan", "--models", f"{MODEL}:2", **env)["models"]
    assert (planned["model"], planned["tp"], planned["state"]) == (MODEL, 2, "cold")
    argv = planned["argv"]
    assert argv[argv.index("--model") + 1] == str(snapshot)
    assert argv[argv.index("--tp") + 1] == "2"
    done = call(tmp_path, "why", f"{MODEL}:2", **env)
    assert f"{MODEL}:2" in done.stdout and "never warmed" in done.stdout
    assert call(tmp_path, "kernels", "list", MODEL, **env).returncode == 0


def test_its_config_belongs_to_the_launch_key(tmp_path: Path) -> None:
    """`main` may move: what was warmed then says nothing of the new config."""
    from warmup.commands.session import Session
    from warmup.workflow.api import Selection

    snapshot = make_snapshot(tmp_path / "hf")

    def get_key() -> str:
        environ = get_env(tmp_path, HF_HOME=str(tmp_path / "hf"))
        selection = Selection(models=(MODEL,))
        (launch,) = Session(selection=selection, environ=environ, folder=tmp_path).launches
        return launch.key

    before = get_key()
    assert get_key() == before
    (snapshot / "config.json").write_text(json.dumps({**CONFIG, "hidden_size": 64}))
    assert get_key() != before


@pytest.mark.parametrize(
    ("without", "what", "where"),
    [
        (None, "org/vl: not in the hub's cache", "for revision main in {hf}/hub/models--org--vl"),
        (
            ("tokenizer.json", "model.safetensors"),
            "org/vl: the hub's cache lacks model.safetensors, tokenizer.json",
            "in {hf}/hub/models--org--vl/snapshots/" + COMMIT,
        ),
    ],
)
def test_what_is_missing_is_said_with_what_to_type(
    tmp_path: Path, without: tuple[str, ...] | None, what: str, where: str
) -> None:
    hf = tmp_path / "hf"
    if without is not None:
        make_snapshot(hf, *without)
    done = call(tmp_path, "run", "--models", MODEL, HF_HOME=str(hf))
    assert done.returncode == 2
    assert f"error: {what}" in done.stderr
    assert f"looked {where.format(hf=hf)}" in done.stderr
    assert "`warmup-ci run --download` fetches it" in done.stderr
    (planned,) = call_json(tmp_path, "plan", "--models", MODEL, HF_HOME=str(hf))["models"]
    assert planned["problem"].startswith(what)
    compiled = call(tmp_path, "kernels", "compile", "--target", "cuda:90", MODEL, HF_HOME=str(hf))
    assert (compiled.returncode, f"error: {what}" in compiled.stderr) == (2, True)


def test_a_download_that_fails_is_told_before_anything_starts(tmp_path: Path) -> None:
    with serve_hub({}) as hub:
        env = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url}
        done = call(tmp_path, "run", "--download", "--models", MODEL, **env)
    assert done.returncode == 1
    assert f"{MODEL}:1: downloading revision main to {tmp_path}/hf/hub/" in done.stderr
    assert f"error: cannot download the model of {MODEL}" in done.stderr
    assert "cause: RepositoryNotFoundError: " in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("family", "jobs"), [("qwen2_5_vl", ()), ("sd3", ("--jobs", "1"))])
def test_an_id_is_downloaded_warmed_and_warm(
    tmp_path: Path, family: str, jobs: tuple[str, ...]
) -> None:
    require("python:diffusers")
    importlib.import_module(f"warmup.engine.tiny.{family}").make(tmp_path / "repo")
    args = ("run", "--models", f"{MODEL}:1", *jobs)
    env = {"HF_HOME": str(tmp_path / "hf")}

    def run(*more: str, **variables: str) -> dict[str, Any]:
        (model,) = call_json(tmp_path, *args, *more, **env, **variables)["models"]
        return dict(model)

    with serve_hub({MODEL: tmp_path / "repo"}) as hub:
        cold = run("--download", HF_ENDPOINT=hub.url)
        assert (cold["state"], cold["model"]) == ("warmed", MODEL), cold["reason"]
        fetched = len(hub.fetched)
        warm = run("--download", HF_ENDPOINT=hub.url)
        assert (warm["state"], len(hub.fetched)) == ("warm", fetched)
    assert run()["state"] == "warm"  # nothing is asked of a hub

"""Seeds side by side: made at once on the null device, and confirmed one after the other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.jobs_program import run_jobs, server, write
from tests.target.gpu_host import call_json_on_gpu
from tests.target.null_device import get_libraries

# Where $ALONE is set, a server that finds another one alive fails.
ALONE = """for other in ../../../../*.up; do
[ -n "$ALONE" ] && kill -0 $(cut -d' ' -f1 $other) && exit 9; done\n"""
RUN = ("run", "--workflow", "workflow.toml", "--jobs", "2")


def seed(folder: Path) -> dict[str, dict[str, Any]]:
    """Two that meet, and one for all GPUs."""
    write(
        folder,
        server("a", "b", "--tune", "timed", tp=2, before=ALONE),
        server("b", "a", "--always-compile", tp=2, before=ALONE),
        server("c", tp=4, before=ALONE),
    )
    return run_jobs(folder, "2", "--target", "h200x4")


def test_models_are_seeded_at_once_each_with_the_targets_gpus(tmp_path: Path) -> None:
    """On a home without the compiled null device: one of them compiles it."""
    found = seed(tmp_path)
    assert {(each["state"], each["target"]) for each in found.values()} == {("seeded", "h200x4")}
    # Whoever ends first takes it away and names it.
    left_out = [each for model in found.values() for each in model["left_out"]]
    assert left_out == ["triton tuning of timed"]
    assert not list(tmp_path.rglob("*.autotune.json"))
    gpus = {name: (tmp_path / f"{name}.up").read_text().split()[1] for name in "abc"}
    assert gpus == {"a": "0,1", "b": "0,1", "c": "0,1,2,3"}
    markers = [json.loads(path.read_text()) for path in (tmp_path / "home/markers").iterdir()]
    assert {marker["warmed_by"] for marker in markers} == {"target"}
    again = run_jobs(tmp_path, "auto", "--target", "h200x4")
    assert {(each["state"], each["seconds"]) for each in again.values()} == {("seeded", 0.0)}


@pytest.fixture
def compiled_already(tmp_path: Path) -> None:
    shutil.copytree(get_libraries().parent, tmp_path / "home" / "target")


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_already")
def test_seeds_are_confirmed_one_by_one_under_jobs(tmp_path: Path) -> None:
    """A neighbour's kernels would be taken for what the seed missed."""
    seed(tmp_path)
    document = call_json_on_gpu(tmp_path, "h200x4", *RUN, ALONE="1")
    found = {model["model"]: model for model in document["models"]}
    assert {model["state"] for model in found.values()} == {"warmed"}, found
    missed = {name: (model["proven"], model["seed_missed"]) for name, model in found.items()}
    assert missed == {"a": (True, []), "b": (False, ["triton b"]), "c": (True, [])}
    again = call_json_on_gpu(tmp_path, "h200x4", *RUN)
    assert {model["state"] for model in again["models"]} == {"warm"}


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_already")
def test_with_force_seeds_are_warmed_at_once(tmp_path: Path) -> None:
    seed(tmp_path)
    for name in "abc":
        (tmp_path / f"{name}.up").unlink()
    document = call_json_on_gpu(tmp_path, "h200x4", *RUN, "--force")
    assert {model["state"] for model in document["models"]} == {"warmed"}
    gpus = {name: (tmp_path / f"{name}.up").read_text().split()[1] for name in "ab"}
    assert sorted(f"{gpus['a']},{gpus['b']}".split(",")) == ["0", "1", "2", "3"]

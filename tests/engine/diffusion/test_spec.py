"""Folders that are not what they should be: every error names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from warmup.engine.args import ServerArgs
from warmup.engine.backends import DIFFUSION, VLM, get_backend
from warmup.engine.diffusion.frontend import make_frontend
from warmup.engine.diffusion.spec import DiffusionTask
from warmup.words.errors import UsageError


@pytest.fixture
def copy(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """An sd3 folder of configs that a test may spoil."""
    ignore = shutil.ignore_patterns("*.safetensors")
    return Path(shutil.copytree(tiny("sd3"), tmp_path / "sd3", ignore=ignore))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def get_error(folder: Path, **settings: Any) -> str:
    with pytest.raises(UsageError) as caught:
        make_frontend(ServerArgs(model=str(folder), **settings))
    return caught.value.render()


@pytest.mark.parametrize(
    ("family", "task", "size"),
    [
        ("sd3", "T2I", 64),
        ("qwen-image-edit", "TI2I", 64),
        ("wan-i2v", "I2V", 64),
        ("flux2", "TI2I", 64),
    ],
)
def test_every_tiny_family_is_found(
    tiny: Callable[[str], Path], family: str, task: str, size: int
) -> None:
    info = make_frontend(ServerArgs(model=str(tiny(family)))).info
    assert (info["family"], info["task"]) == (family, task)
    assert info["sampling_defaults"]["width"] == size


def test_an_unknown_pipeline(copy: Path) -> None:
    edit(copy / "model_index.json", _class_name="FluxPipeline")
    said = get_error(copy)
    assert "model_index.json" in said
    assert "FluxPipeline" in said
    assert "StableDiffusion3Pipeline" in said


def test_a_missing_component(copy: Path) -> None:
    edit(copy / "model_index.json", vae=[None, None])
    assert "model_index.json: component 'vae' is missing" in get_error(copy)


def test_an_optional_component_may_be_null(copy: Path) -> None:
    edit(copy / "model_index.json", text_encoder_3=[None, None], tokenizer_3=[None, None])
    make_frontend(ServerArgs(model=str(copy)))


def test_a_wrong_class(copy: Path) -> None:
    edit(copy / "model_index.json", vae=["diffusers", "AutoencoderTiny"])
    said = get_error(copy)
    assert "component 'vae' is a AutoencoderTiny" in said
    assert "AutoencoderKL" in said


def test_a_missing_folder(copy: Path) -> None:
    shutil.rmtree(copy / "transformer")
    assert str(copy / "transformer") in get_error(copy)


def test_a_broken_index(copy: Path) -> None:
    (copy / "model_index.json").write_text("{")
    assert f"cannot read {copy / 'model_index.json'}" in get_error(copy)


def test_defaults_of_the_folder(copy: Path) -> None:
    edit(copy / "generation_config.json", width=96, guidance_scale=3)
    defaults = make_frontend(ServerArgs(model=str(copy))).info["sampling_defaults"]
    assert (defaults["width"], defaults["height"], defaults["guidance_scale"]) == (96, 64, 3.0)
    edit(copy / "generation_config.json", width="wide")
    assert "generation_config.json" in get_error(copy)


def test_cfg_parallel_needs_two_branches(tiny: Callable[[str], Path]) -> None:
    said = get_error(tiny("flux2"), num_gpus=2, enable_cfg_parallel=True)
    assert "flux2 has one branch" in said


def test_frames_are_for_videos(copy: Path) -> None:
    assert "--warmup-num-frames" in get_error(copy, warmup_num_frames=5)


def test_tasks_say_what_they_take() -> None:
    accept = {task.value for task in DiffusionTask if task.accepts_image}
    require = {task.value for task in DiffusionTask if task.requires_image}
    assert accept == {"I2I", "TI2I", "I2V", "TI2V"}
    assert require == {"I2I", "I2V"}
    assert {task.value for task in DiffusionTask if task.makes_video} == {"T2V", "I2V", "TI2V"}


def test_backends_by_folder(copy: Path, tmp_path: Path) -> None:
    assert get_backend(str(copy)) is DIFFUSION
    vlm = tmp_path / "vlm"
    vlm.mkdir()
    with pytest.raises(UsageError, match="is not a model folder"):
        get_backend(str(vlm))
    (vlm / "config.json").write_text("{}")
    assert get_backend(str(vlm)) is VLM
    with pytest.raises(UsageError, match="no model folder org/name"):
        get_backend("org/name")

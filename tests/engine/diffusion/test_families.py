"""Each family against diffusers' own pipeline over the same weights and the same noise."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit
from diffusers.pipelines.wan import pipeline_wan_i2v

from tests.engine.diffusion.reference import (
    PROMPT,
    SEED,
    make_local_runner,
    make_picture,
    read_frames,
    run_pipeline,
)
from warmup.engine.diffusion.params import Sampling, merge
from warmup.engine.messages import RequestError

# Of 0..1: a PNG holds 8 bits, so half a step of 255 is lost to rounding; the other half is for
# sums in another order.
TOLERANCE = 1 / 255
GUIDED = {"negative_prompt": "a cold runner"}
CASES: dict[str, dict[str, Any]] = {
    "sd3": {**GUIDED, "guidance_scale": 5.0},
    "qwen-image-edit": {**GUIDED, "true_cfg_scale": 3.0},
    "wan-i2v": {**GUIDED, "guidance_scale": 3.0, "num_frames": 9},
    "flux2": {"guidance_scale": 3.0},
}
SIZE = {"width": 80, "height": 64, "num_inference_steps": 3}


@pytest.fixture
def small_pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two things of the pipelines that a tiny folder on a small machine has otherwise."""
    whole = pipeline_qwenimage_edit.calculate_dimensions

    def calculate(area: int, ratio: float) -> Any:
        return whole(64 * 64, ratio)  # not a megapixel

    monkeypatch.setattr(pipeline_qwenimage_edit, "calculate_dimensions", calculate)
    plain = types.SimpleNamespace(fix_text=lambda text: text)  # ftfy is optional, and called
    monkeypatch.setattr(pipeline_wan_i2v, "ftfy", plain, raising=False)


@pytest.mark.usefixtures("small_pipelines")
@pytest.mark.parametrize("family", list(CASES))
def test_equals_the_pipeline(tiny: Callable[[str], Path], family: str) -> None:
    runner = make_local_runner(tiny(family))
    picture = make_picture()
    sampling = {**SIZE, **CASES[family]}
    given = Sampling(prompt=PROMPT, seed=SEED, **sampling)
    image = picture if runner.model.spec.task.accepts_image else None
    made = runner.generate(merge(given, runner.model.parts.defaults, image))
    ours = read_frames(made["media"][0])
    theirs = run_pipeline(runner.model, picture, **sampling)
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.05  # a flat picture would equal anything flat
    assert numpy.abs(ours - theirs).max() <= TOLERANCE


@pytest.mark.usefixtures("small_pipelines")
def test_sd3_without_guidance_and_flux2_without_image(tiny: Callable[[str], Path]) -> None:
    for family, sampling in (("sd3", {"guidance_scale": 1.0}), ("flux2", {"guidance_scale": 2.0})):
        runner = make_local_runner(tiny(family))
        given = Sampling(prompt=PROMPT, seed=SEED, **SIZE, **sampling)  # type: ignore[arg-type]
        made = runner.generate(merge(given, runner.model.parts.defaults))
        theirs = run_pipeline(runner.model, None, **SIZE, **sampling)
        assert numpy.abs(read_frames(made["media"][0]) - theirs).max() <= TOLERANCE


def test_several_images_differ_by_seed(tiny: Callable[[str], Path]) -> None:
    runner = make_local_runner(tiny("sd3"))

    def make(seed: int, n: int) -> list[bytes]:
        given = Sampling(prompt="x", seed=seed, n=n, num_inference_steps=1)
        media: list[bytes] = runner.generate(merge(given, runner.model.parts.defaults))["media"]
        return media

    first, second = make(1, 2)
    assert first != second
    assert make(1, 1) == [first]
    assert make(2, 1) == [second]


def test_dummy_weights_are_real_sizes_and_repeat(tiny: Callable[[str], Path]) -> None:
    def make() -> list[Any]:
        runner = make_local_runner(tiny("sd3"), load_format="dummy")
        return list(runner.model.parts.transformer.parameters())

    real = make_local_runner(tiny("sd3")).model.parts.transformer
    first, again = make(), make()
    assert [each.shape for each in first] == [each.shape for each in real.parameters()]
    assert all(bool((a == b).all()) for a, b in zip(first, again, strict=True))
    assert all(bool(each.isfinite().all()) for each in first)


@pytest.mark.parametrize("load_format", ["auto", "dummy"])
@pytest.mark.parametrize("family", list(CASES))
def test_bf16_makes_pictures(tiny: Callable[[str], Path], family: str, load_format: str) -> None:
    """What a GPU computes in; and a single step, whose schedule is an edge of its own."""
    runner = make_local_runner(tiny(family), load_format=load_format, dtype="bfloat16")
    for name, component in runner.model.spec.components.items():
        part = getattr(runner.model.parts, name)
        if isinstance(part, torch.nn.Module):
            wanted = torch.float32 if component.in_float32 else torch.bfloat16
            assert _get_free_dtypes(part) == {wanted}, name
    given = Sampling(prompt="x", num_inference_steps=1)
    image = make_picture() if runner.model.spec.task.accepts_image else None
    made = runner.generate(merge(given, runner.model.parts.defaults, image))
    assert read_frames(made["media"][0]).std() > 0.05


def _get_free_dtypes(part: Any) -> set[torch.dtype]:
    """Of the parameters that the part's class does not keep in float32 itself."""
    kept = set(getattr(part, "_keep_in_fp32_modules", None) or ())
    named = list(part.named_parameters())
    return {each.dtype for name, each in named if not kept & set(name.split("."))}


def test_negative_prompts_are_encoded_once(tiny: Callable[[str], Path]) -> None:
    runner = make_local_runner(tiny("sd3"))
    seen: list[str] = []
    encode = runner.model.encode_text

    def watch(job: Any, text: str, picture: Any) -> Any:
        seen.append(text)
        return encode(job, text, picture)

    runner.model.encode_text = watch  # type: ignore[method-assign]
    for prompt in ("a", "b"):
        given = Sampling(prompt=prompt, negative_prompt="n", num_inference_steps=1)
        runner.generate(merge(given, runner.model.parts.defaults))
    assert seen == ["a", "n", "b"]


def test_flux2_refuses_an_image_without_a_token(tiny: Callable[[str], Path]) -> None:
    runner = make_local_runner(tiny("flux2"))
    for size, said in (((64, 40), "sides must be at least 64"), ((1024, 64), "longer than 8:1")):
        job = merge(Sampling(prompt="x"), runner.model.parts.defaults, make_picture(*size))
        with pytest.raises(RequestError, match=said):
            runner.generate(job)

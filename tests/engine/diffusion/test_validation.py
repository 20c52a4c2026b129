from __future__ import annotations

from typing import Any

import pytest

from warmup.engine.diffusion.families import flux2, qwen_image_edit, sd3, wan_i2v
from warmup.engine.diffusion.params import MediaJob, Sampling, merge
from warmup.engine.diffusion.spec import FamilySpec
from warmup.engine.diffusion.validation import validate
from warmup.engine.messages import Failure, RequestError

IMAGE = b"not looked at here"


def make_job(spec: FamilySpec = sd3.SPEC, image: bytes | None = None, **given: Any) -> MediaJob:
    return merge(Sampling(**{"prompt": "x", **given}), spec.defaults, image)


def get_failure(job: MediaJob, spec: FamilySpec = sd3.SPEC, *, parallel: bool = False) -> Failure:
    with pytest.raises(RequestError) as caught:
        validate(job, spec, parallel, "reject")
    return caught.value.failure


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": "x" * 100_001}, "prompt"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"negative_prompt": "🙂\udc00"}, "negative_prompt"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": -1}, "num_inference_steps"),
        ({"guidance_scale": -0.1}, "guidance_scale"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"true_cfg_scale": float("inf")}, "true_cfg_scale"),
        ({"width": 0}, "width"),
        ({"width": 100}, "width"),
        ({"height": 8192}, "height"),
        ({"n": 0}, "n"),
        ({"seed": -1}, "seed"),
        ({"num_frames": 5}, "num_frames"),
    ],
)
def test_each_parameter_is_named(given: dict[str, Any], field: str) -> None:
    failure = get_failure(make_job(**given))
    assert (failure.kind, failure.field) == ("validation", field)


def test_the_order_is_fixed() -> None:
    """Ranks that named different faults of one request would not agree."""
    wrong: dict[str, Any] = {
        "prompt": None, "num_inference_steps": 0, "guidance_scale": -1.0, "width": 1,
    }  # fmt: skip
    for field in list(wrong):
        assert get_failure(make_job(**wrong), parallel=True).field == field
        del wrong[field]


@pytest.mark.parametrize("frames", [0, 2, 16, 2000])
def test_video_frames_are_a_multiple_of_four_plus_one(frames: int) -> None:
    job = make_job(wan_i2v.SPEC, IMAGE, num_frames=frames)
    assert get_failure(job, wan_i2v.SPEC).field == "num_frames"


def test_images_where_they_belong() -> None:
    assert get_failure(make_job(image=IMAGE)).field == "image"
    assert get_failure(make_job(wan_i2v.SPEC), wan_i2v.SPEC).field == "image"
    assert get_failure(make_job(qwen_image_edit.SPEC), qwen_image_edit.SPEC).field == "image"
    for image in (None, IMAGE):
        validate(make_job(flux2.SPEC, image), flux2.SPEC, False, "reject")


def test_qwen_image_edit_needs_words() -> None:
    job = make_job(qwen_image_edit.SPEC, IMAGE, prompt="  ")
    assert get_failure(job, qwen_image_edit.SPEC).field == "prompt"
    validate(make_job(prompt=""), sd3.SPEC, False, "reject")


def test_flux2_takes_no_negative_prompt() -> None:
    job = make_job(flux2.SPEC, negative_prompt="x")
    assert get_failure(job, flux2.SPEC).field == "negative_prompt"


@pytest.mark.parametrize(
    ("negative", "state"), [(None, "not set"), ("", "empty"), ("blurry", "set.")]
)
def test_guidance_off_under_cfg_parallel(negative: str | None, state: str) -> None:
    job = make_job(guidance_scale=1.0, negative_prompt=negative)
    message = get_failure(job, parallel=True).message
    for said in (
        "--enable-cfg-parallel",
        "do_classifier_free_guidance=False",
        "guidance_scale=1.0",
        "true_cfg_scale=None",
        f"negative_prompt: {state}",
        "Both branches are needed",
        "--cfg-off-policy serve",
    ):
        assert said in message
    validate(job, sd3.SPEC, True, "serve")
    validate(job, sd3.SPEC, False, "reject")


@pytest.mark.parametrize(
    ("given", "on"),
    [
        ({}, True),
        ({"negative_prompt": ""}, True),
        ({"guidance_scale": 1.0}, False),
        ({"guidance_scale": 1.0, "true_cfg_scale": 2.0}, True),
        ({"guidance_scale": 9.0, "true_cfg_scale": 1.0}, False),
    ],
)
def test_guidance_is_a_scale_and_a_negative_prompt(given: dict[str, Any], on: bool) -> None:
    assert make_job(**given).do_classifier_free_guidance is on


def test_no_negative_prompt_at_all_is_no_guidance() -> None:
    job = merge(Sampling(prompt="x"), Sampling(guidance_scale=7.0))
    assert not job.do_classifier_free_guidance

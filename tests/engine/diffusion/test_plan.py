from __future__ import annotations

from typing import Any

import pytest

from warmup.engine.args import ServerArgs
from warmup.engine.backends import Warmup
from warmup.engine.diffusion.families import flux2, qwen_image_edit, sd3, wan_i2v
from warmup.engine.diffusion.params import Sampling, merge
from warmup.engine.diffusion.plan import get_smaller, parse_sampling_params, plan_warmups
from warmup.engine.diffusion.spec import FamilySpec
from warmup.words.errors import UsageError


def plan(spec: FamilySpec, defaults: Sampling | None = None, **settings: Any) -> list[Warmup]:
    return plan_warmups(ServerArgs(model="m", **settings), spec, defaults or spec.defaults)


def get_given(warmup: Warmup) -> Sampling:
    given = warmup.payload["given"]
    assert isinstance(given, Sampling)
    return given


def test_an_image_model_warms_its_own_size_else_512() -> None:
    (warmup,) = plan(sd3.SPEC)
    given = get_given(warmup)
    assert (given.prompt, given.width, given.height) == ("warmup", 512, 512)
    sized = Sampling(width=1024, height=768, num_inference_steps=50)
    given = get_given(plan(sd3.SPEC, sized)[0])
    assert (given.width, given.height) == (1024, 768)


def test_nothing_but_size_and_steps_is_changed_without_cfg_parallel() -> None:
    """The model's own guidance and negative prompt are then what is warmed."""
    for spec in (sd3.SPEC, qwen_image_edit.SPEC, wan_i2v.SPEC):
        for warmup in plan(spec):
            given = get_given(warmup)
            assert given.negative_prompt is None
            assert given.guidance_scale is None
            assert given.true_cfg_scale is None


@pytest.mark.parametrize(
    ("size", "frames", "warmed"),
    [
        ((1280, 720), 81, (832, 480, 17)),
        ((720, 1280), 81, (480, 832, 17)),
        ((832, 480), 81, (832, 480, 17)),
        ((64, 64), 9, (64, 64, 9)),
        ((64, 64), 16, (64, 64, 13)),
        ((64, 64), 1, (64, 64, 1)),
    ],
)
def test_a_video_is_bounded(
    size: tuple[int, int], frames: int, warmed: tuple[int, int, int]
) -> None:
    defaults = Sampling(width=size[0], height=size[1], num_frames=frames)
    given = get_given(plan(wan_i2v.SPEC, defaults)[0])
    assert (given.width, given.height, given.num_frames) == warmed


def test_resolutions_that_were_asked_for_are_verbatim() -> None:
    sizes = ((1920, 1088), (100, 100))
    warmups = plan(wan_i2v.SPEC, warmup_resolutions=sizes, warmup_num_frames=33)
    assert [(get_given(each).width, get_given(each).height) for each in warmups] == list(sizes)
    assert all(get_given(each).num_frames == 33 for each in warmups)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, 2),
        ({"warmup_steps": 1}, 1),
        ({"warmup_steps": 5}, 5),
        ({"warmup_steps": 99}, 28),
        ({"warmup_mode": "request", "warmup_resolutions": ((64, 64),)}, 1),
        ({"warmup_sampling_params": {"num_inference_steps": 3}}, 3),
    ],
)
def test_steps(settings: dict[str, Any], steps: int) -> None:
    assert get_given(plan(sd3.SPEC, **settings)[0]).num_inference_steps == steps


def test_steps_never_exceed_the_models_own() -> None:
    given = get_given(plan(sd3.SPEC, Sampling(num_inference_steps=1))[0])
    assert given.num_inference_steps == 1


def test_images_are_made_for_tasks_that_accept_one() -> None:
    assert [each.image_size for each in plan(sd3.SPEC)] == [None]
    assert [each.image_size for each in plan(qwen_image_edit.SPEC)] == [(1024, 1024)]
    assert [each.image_size for each in plan(wan_i2v.SPEC)] == [(832, 480)]
    # Text alone, and the image path too.
    assert [each.image_size for each in plan(flux2.SPEC)] == [None, (1024, 1024)]


@pytest.mark.parametrize(
    ("defaults", "negative", "scale"),
    [
        (Sampling(guidance_scale=7.0, negative_prompt="blurry"), "blurry", 7.0),
        (Sampling(guidance_scale=7.0, negative_prompt=""), "", 7.0),
        (Sampling(guidance_scale=7.0), "warmup", 7.0),
        (Sampling(guidance_scale=1.0), "warmup", 4.0),
        (Sampling(guidance_scale=7.0, true_cfg_scale=1.0), "warmup", 4.0),
    ],
)
def test_cfg_parallel_always_has_guidance(defaults: Sampling, negative: str, scale: float) -> None:
    (warmup,) = plan(sd3.SPEC, defaults, num_gpus=2, enable_cfg_parallel=True)
    job = merge(get_given(warmup), defaults)
    assert job.do_classifier_free_guidance
    assert (job.negative_prompt, job.cfg_scale) == (negative, scale)


def test_sampling_params_go_on_top() -> None:
    params = {"guidance_scale": 2.0, "width": 96, "height": 64, "negative_prompt": "n"}
    given = get_given(plan(sd3.SPEC, warmup_sampling_params=params)[0])
    assert (given.width, given.height, given.guidance_scale) == (96, 64, 2.0)
    params = {"guidance_scale": 1.0}
    (warmup,) = plan(sd3.SPEC, warmup_sampling_params=params, num_gpus=2, enable_cfg_parallel=True)
    assert merge(get_given(warmup), sd3.SPEC.defaults).do_classifier_free_guidance


@pytest.mark.parametrize("params", [{"guidence": 1}, {"width": "64"}, {"n": 1.5}])
def test_wrong_sampling_params_are_usage_errors(params: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--warmup-sampling-params"):
        parse_sampling_params(params)


def shapes(given: Sampling, spec: FamilySpec) -> list[tuple[int | None, int | None, int | None]]:
    return [(each.width, each.height, each.num_frames) for each in get_smaller(given, spec)]


def test_memory_is_saved_on_frames_first_and_then_on_area() -> None:
    video = Sampling(width=832, height=480, num_frames=17)
    assert shapes(video, wan_i2v.SPEC) == [(832, 480, 9), (832, 480, 5), (832, 480, 1)]
    short = Sampling(width=832, height=480, num_frames=5)
    assert shapes(short, wan_i2v.SPEC) == [(832, 480, 1), (576, 336, 1), (400, 224, 1)]
    image = Sampling(width=1024, height=1024)
    assert shapes(image, sd3.SPEC) == [(720, 720, None), (496, 496, None), (336, 336, None)]


def test_memory_saving_ends_at_sixteen() -> None:
    assert shapes(Sampling(width=32, height=16), sd3.SPEC) == [(16, 16, None)]

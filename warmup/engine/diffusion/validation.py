"""The first stage: is this a request that the model can answer?

Pure: the same data gives the same answer on every rank, so all raise or none does.
"""

from __future__ import annotations

import math

from warmup.engine.diffusion.params import MediaJob
from warmup.engine.diffusion.spec import FamilySpec
from warmup.engine.messages import RequestError, invalid

MAX_SIDE = 4096
MAX_FRAMES = 1025
MAX_STEPS = 1000
MAX_IMAGES = 10
MAX_PROMPT_CHARS = 100_000


def validate(job: MediaJob, spec: FamilySpec, cfg_parallel: bool, cfg_off_policy: str) -> None:
    """Raise `RequestError` (validation, with its field) for the first thing that is wrong.

    The order is fixed: prompt, steps, guidance, CFG parallel, then sizes and the image.
    """
    _check_prompt(job, spec)
    if not 1 <= job.num_inference_steps <= MAX_STEPS:
        raise invalid(
            f"num_inference_steps must be 1..{MAX_STEPS}, not {job.num_inference_steps}",
            "num_inference_steps",
        )
    if job.given_negative is not None and not spec.has_cfg:
        raise invalid(f"{spec.name} has no negative branch", "negative_prompt")
    for name, scale in (("guidance_scale", job.guidance_scale), ("true_cfg_scale", job.cfg_scale)):
        if not (math.isfinite(scale) and scale >= 0):
            raise invalid(f"{name} must be a number of at least 0, not {scale}", name)
    if cfg_parallel and cfg_off_policy == "reject" and not job.do_classifier_free_guidance:
        raise _get_cfg_off_error(job)
    _check_sizes(job, spec)
    _check_image(job, spec)


def _check_prompt(job: MediaJob, spec: FamilySpec) -> None:
    if job.prompt is None:
        raise invalid("prompt is missing", "prompt")
    if spec.requires_prompt and not job.prompt.strip():
        raise invalid(f"{spec.name} needs a prompt that is not empty", "prompt")
    for name, text in (("prompt", job.prompt), ("negative_prompt", job.negative_prompt or "")):
        if len(text) > MAX_PROMPT_CHARS:
            raise invalid(f"{name} is longer than {MAX_PROMPT_CHARS} characters", name)
        if not text.isascii() and text.encode("utf-8", "ignore").decode() != text:
            raise invalid(f"{name} holds half a surrogate pair", name)


def _get_cfg_off_error(job: MediaJob) -> RequestError:
    """Why a request without guidance cannot run here, and both ways out (sglang#39303: blame no
    flag that nobody passed, show what was seen)."""
    states = {None: "not set", "": "empty"}
    return invalid(
        "this server runs CFG parallel (--enable-cfg-parallel), and the request has guidance off:"
        f" do_classifier_free_guidance={job.do_classifier_free_guidance},"
        f" guidance_scale={job.guidance_scale}, true_cfg_scale={job.true_cfg_scale},"
        f" negative_prompt: {states.get(job.given_negative, 'set')}."
        " Both branches are needed, the positive and the negative prompt's, because each runs on"
        " its own ranks: with one branch the others have nothing to compute."
        " Either turn guidance on in the request (a scale greater than 1 and a negative_prompt,"
        ' of which "" is one), or start the server without --enable-cfg-parallel or with'
        " --cfg-off-policy serve.",
        "guidance_scale",
    )


def _check_sizes(job: MediaJob, spec: FamilySpec) -> None:
    multiple = spec.size_multiple
    for name, side in (("width", job.width), ("height", job.height)):
        if not multiple <= side <= MAX_SIDE or side % multiple:
            raise invalid(
                f"{name} must be a multiple of {multiple} in {multiple}..{MAX_SIDE}, not {side}",
                name,
            )
    if not 1 <= job.n <= MAX_IMAGES:
        raise invalid(f"n must be 1..{MAX_IMAGES}, not {job.n}", "n")
    if not 0 <= job.seed < 2**63:
        raise invalid(f"seed must be 0..2^63-1, not {job.seed}", "seed")
    if spec.task.makes_video:
        _check_video(job, spec)
    elif job.num_frames != 1:
        raise invalid(f"{spec.name} makes images: num_frames is 1", "num_frames")


def _check_video(job: MediaJob, spec: FamilySpec) -> None:
    step = spec.frame_multiple
    if not 1 <= job.num_frames <= MAX_FRAMES or job.num_frames % step != 1 % step:
        raise invalid(
            f"num_frames must be a multiple of {step} plus 1, up to {MAX_FRAMES},"
            f" not {job.num_frames}",
            "num_frames",
        )
    if not 1 <= job.fps <= 120:
        raise invalid(f"fps must be 1..120, not {job.fps}", "fps")
    if job.n != 1:
        raise invalid("one video per request: n is 1", "n")


def _check_image(job: MediaJob, spec: FamilySpec) -> None:
    if job.has_image and not spec.task.accepts_image:
        raise invalid(f"{spec.name} ({spec.task.value}) takes no image", "image")
    if spec.needs_image and not job.has_image:
        raise invalid(f"{spec.name} ({spec.task.value}) needs an image", "image")

"""The plan of a diffusion model's warm-up: pure, from arguments and defaults to requests."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from warmup.engine.args import ServerArgs
from warmup.engine.backends import Warmup
from warmup.engine.diffusion.params import Sampling, merge
from warmup.engine.diffusion.spec import FamilySpec
from warmup.words.errors import UsageError

_log = logging.getLogger("warmup.engine")
PROMPT = "warmup"
# A real word: every tokenizer makes more of it than padding.
PLACEHOLDER_NEGATIVE = "warmup"
FORCED_SCALE = 4.0
# The first and the last step start different kernels.
SERVER_STEPS = 2
VIDEO_SIZE = (832, 480)
VIDEO_FRAMES = 17
MIN_SIDE = 16
MAX_RETRIES = 3


def parse_sampling_params(params: dict[str, Any]) -> Sampling:
    """`--warmup-sampling-params`. Raises `UsageError` for unknown keys and wrong types."""
    unknown = sorted(set(params) - set(Sampling.__struct_fields__))
    if unknown:
        raise UsageError(
            f"--warmup-sampling-params: unknown key {unknown[0]!r}",
            hint=f"known: {', '.join(Sampling.__struct_fields__)}",
        )
    try:
        return msgspec.convert(params, Sampling)
    except msgspec.ValidationError as error:
        raise UsageError(f"--warmup-sampling-params: {error}") from None


def plan_warmups(args: ServerArgs, spec: FamilySpec, defaults: Sampling) -> list[Warmup]:
    """One request per shape, from the model's own defaults; where an image may come but need not,
    one without and one with it."""
    params = parse_sampling_params(args.warmup_sampling_params)
    warmups: list[Warmup] = []
    for width, height in get_sizes(args, spec, merge_defaults(params, defaults)):
        given = _make_request(args, spec, defaults, params, width, height)
        smaller = tuple({"given": each} for each in get_smaller(given, spec))
        name = get_name(given)
        if not spec.needs_image:
            warmups.append(Warmup(name, "generate", {"given": given}, smaller=smaller))
        if spec.task.accepts_image:
            size = (width, height)
            warmups.append(
                Warmup(f"{name} with image", "generate", {"given": given}, size, smaller)
            )
    return warmups


def merge_defaults(params: Sampling, defaults: Sampling) -> Sampling:
    return Sampling(**{**defaults.get_given(), **params.get_given()})


def get_name(given: Sampling) -> str:
    """`512x512`, `832x480, 17 frames`."""
    size = f"{given.width}x{given.height}"
    return size if given.num_frames is None else f"{size}, {given.num_frames} frames"


def get_sizes(args: ServerArgs, spec: FamilySpec, defaults: Sampling) -> list[tuple[int, int]]:
    """Asked-for resolutions verbatim; else the default size, a video's at most 832×480."""
    if args.warmup_resolutions:
        return list(args.warmup_resolutions)
    job = merge(Sampling(), defaults)
    size = (job.width, job.height)
    most = VIDEO_SIZE if size[0] >= size[1] else VIDEO_SIZE[::-1]
    if spec.task.makes_video and size[0] * size[1] > most[0] * most[1]:
        size = most
    return [size]


def _make_request(
    args: ServerArgs,
    spec: FamilySpec,
    defaults: Sampling,
    params: Sampling,
    width: int,
    height: int,
) -> Sampling:
    values = {"prompt": PROMPT, **params.get_given(), "width": width, "height": height}
    values["num_inference_steps"] = _get_steps(args, params, defaults)
    values["n"] = 1
    if spec.task.makes_video:
        values["num_frames"] = _get_frames(args, spec, params, defaults)
    given = Sampling(**values)
    return _with_guidance(given, defaults) if args.cfg_parallel else given


def _get_steps(args: ServerArgs, params: Sampling, defaults: Sampling) -> int:
    """Asked for, or 2 in server mode, else 1; never more than the model's own."""
    fallback = SERVER_STEPS if args.mode == "server" else 1
    steps = args.warmup_steps or params.num_inference_steps or fallback
    return min(steps, merge(Sampling(), defaults).num_inference_steps)


def _get_frames(args: ServerArgs, spec: FamilySpec, params: Sampling, defaults: Sampling) -> int:
    asked = args.warmup_num_frames or params.num_frames
    if asked is not None:
        return asked
    most = min(VIDEO_FRAMES, merge(Sampling(), defaults).num_frames)
    return (most - 1) // spec.frame_multiple * spec.frame_multiple + 1


def _with_guidance(given: Sampling, defaults: Sampling) -> Sampling:
    """Under CFG parallel a warm-up always has both branches: one branch leaves a rank with none,
    and what it then answered once crashed the scheduler on every rank (sglang#36489)."""
    job = merge(given, defaults)
    changes: dict[str, Any] = {}
    if job.negative_prompt is None:
        changes["negative_prompt"] = PLACEHOLDER_NEGATIVE
    if not job.cfg_scale > 1:
        name = "guidance_scale" if job.true_cfg_scale is None else "true_cfg_scale"
        _log.warning(
            "%s %g is not guidance, CFG parallel warms with %g", name, job.cfg_scale, FORCED_SCALE
        )
        changes[name] = FORCED_SCALE
    return msgspec.structs.replace(given, **changes)


def get_smaller(given: Sampling, spec: FamilySpec) -> list[Sampling]:
    """What to try after an out-of-memory, at most three: latent frames halved (17 → 9 → 5 → 1),
    then the area, sides multiples of the family's and at least 16."""
    found: list[Sampling] = []
    while len(found) < MAX_RETRIES:
        shrunk = _shrink(given, spec)
        if shrunk is None:
            break
        found.append(shrunk)
        given = shrunk
    return found


def _shrink(given: Sampling, spec: FamilySpec) -> Sampling | None:
    if given.num_frames is not None and given.num_frames > 1:
        # 17 frames are 5 latent ones: 5 → 3 → 2 → 1.
        latent = (given.num_frames - 1) // spec.frame_multiple + 1
        frames = ((latent + 1) // 2 - 1) * spec.frame_multiple + 1
        return msgspec.structs.replace(given, num_frames=min(frames, given.num_frames - 1))
    assert given.width is not None and given.height is not None
    step = max(spec.size_multiple, MIN_SIDE)
    sides = [max(step, int(side / 2**0.5) // step * step) for side in (given.width, given.height)]
    if sides == [given.width, given.height]:
        return None
    return msgspec.structs.replace(given, width=sides[0], height=sides[1])

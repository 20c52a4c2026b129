"""Sampling parameters: what a request said, and what it means with the model's defaults."""

from __future__ import annotations

from typing import Any

import msgspec

# Where neither the request nor the model says anything.
_FALLBACKS: dict[str, Any] = {
    "prompt": None,
    "negative_prompt": None,
    "width": 512,
    "height": 512,
    "num_frames": 1,
    "num_inference_steps": 28,
    "guidance_scale": 1.0,
    "true_cfg_scale": None,
    "fps": 16,
    "seed": 0,
    "n": 1,
}


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Exactly what was given; None: not given. Sizes in pixels.

    Also the shape of `--warmup-sampling-params` and of a model folder's generation_config.json.
    """

    prompt: str | None = None
    negative_prompt: str | None = None
    width: int | None = None
    height: int | None = None
    num_frames: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    fps: int | None = None
    seed: int | None = None
    n: int | None = None

    def get_given(self) -> dict[str, Any]:
        """Only what was given."""
        return {
            key: value for key, value in msgspec.structs.asdict(self).items() if value is not None
        }


class MediaJob(msgspec.Struct, frozen=True, kw_only=True):
    """One request with the defaults filled in: what every rank works on.

    given_negative is what the request itself said, for messages that must not blame a default.
    image: the bytes of a file; image_path: a file of ours (the warm-up image), never a user's.
    """

    prompt: str | None
    negative_prompt: str | None
    given_negative: str | None
    width: int
    height: int
    num_frames: int
    num_inference_steps: int
    guidance_scale: float
    true_cfg_scale: float | None
    fps: int
    seed: int
    n: int
    image: bytes | None = None
    image_path: str | None = None

    @property
    def cfg_scale(self) -> float:
        """The scale between the branches: true_cfg_scale wins where it is set."""
        return self.guidance_scale if self.true_cfg_scale is None else self.true_cfg_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """A scale above 1 and a negative prompt, of which `""` is one."""
        return self.cfg_scale > 1 and self.negative_prompt is not None

    @property
    def has_image(self) -> bool:
        return self.image is not None or self.image_path is not None


def merge(
    given: Sampling,
    defaults: Sampling,
    image: bytes | None = None,
    image_path: str | None = None,
) -> MediaJob:
    """The request over the model's defaults over ours (512×512, 28 steps, no guidance)."""
    values = {**_FALLBACKS, **defaults.get_given(), **given.get_given()}
    values["prompt"] = given.prompt
    return MediaJob(
        **values, given_negative=given.negative_prompt, image=image, image_path=image_path
    )

"""The stages of one request, each a unit of its own: validation (validation.py) → text encoding →
image encoding → denoising → decoding. Every rank runs them together."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from warmup.engine.diffusion.model import Conditioning, DiffusionModel
from warmup.engine.diffusion.params import MediaJob
from warmup.engine.images import decode, open_image
from warmup.engine.messages import Failure, RequestError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from warmup.engine.ranks import Ranks

T = TypeVar("T")
_log = logging.getLogger("warmup.engine")


def contain(ranks: Ranks, work: Callable[[], T]) -> T:
    """Run `work`, which enters no collective, on every rank; all succeed or all raise alike, so
    that one request's failure stays that request's.

    Raises `RequestError` with the failure of the lowest rank that has one.
    """
    from warmup.engine.ranks import RankLost

    result: T
    failure: Failure | None = None
    try:
        result = work()
    except RankLost:
        raise
    except RequestError as error:
        failure = error.failure
    except Exception as error:
        failure = _describe(error)
    agreed = ranks.agree(failure)
    if agreed is not None:
        raise RequestError(agreed)
    return result


def _describe(error: Exception) -> Failure:
    from warmup.engine.ranks import is_out_of_memory

    if is_out_of_memory(error):
        return Failure("oom", f"out of memory: {error}")
    _log.exception("a request failed")
    return Failure("internal", f"{type(error).__name__}: {error}")


def get_own_branches(num_branches: int, cfg_rank: int, cfg_size: int) -> list[int]:
    """The branches that this rank computes: none, if there are fewer branches than ranks."""
    return list(range(cfg_rank, num_branches, cfg_size))


def run_branches(
    ranks: Ranks, num_branches: int, like: Tensor, run: Callable[[int], Tensor]
) -> Sequence[Tensor]:
    """The prediction of every branch, in branch order, on every rank: branch i is computed on rank
    i mod n of the group.

    Every rank enters the same collectives whatever the number of branches, so none can be left
    alone in one (sglang#36489): a rank without a branch contributes zeros.
    run: computes one branch, of the shape and type of `like`. Raises the same `RequestError` on
    every rank if one of them fails.
    """
    own = get_own_branches(num_branches, ranks.cfg_rank, ranks.cfg_size)
    computed = contain(ranks, lambda: [run(branch).to(like.dtype) for branch in own])
    if ranks.cfg_size == 1:
        return computed
    num_slots = -(-num_branches // ranks.cfg_size)
    padding = [like.new_zeros(like.shape)] * (num_slots - len(computed))
    gathered = ranks.gather_cfg([*computed, *padding])
    return [
        gathered[branch % ranks.cfg_size][branch // ranks.cfg_size]
        for branch in range(num_branches)
    ]


NEGATIVES_KEPT = 16


@dataclass(frozen=True)
class Encoded:
    """What denoising needs: per branch its text (None: another rank's), and the shared image."""

    text: list[Conditioning | None]
    image: Conditioning


class TextEncoding:
    """Encodes the branches that this rank will compute. Negative prompts repeat, so the encodings
    of the last 16 are kept (where they don't depend on the image)."""

    def __init__(self, model: DiffusionModel, ranks: Ranks) -> None:
        self.model = model
        self.ranks = ranks
        self._kept: OrderedDict[str, Conditioning] = OrderedDict()

    def run(self, job: MediaJob, picture: Image | None) -> list[Conditioning | None]:
        assert job.prompt is not None
        texts = [job.prompt]
        if job.do_classifier_free_guidance and self.model.spec.has_cfg:
            texts.append(job.negative_prompt or "")
        own = get_own_branches(len(texts), self.ranks.cfg_rank, self.ranks.cfg_size)
        return [
            self._encode(job, text, picture, branch > 0) if branch in own else None
            for branch, text in enumerate(texts)
        ]

    def _encode(
        self, job: MediaJob, text: str, picture: Image | None, negative: bool
    ) -> Conditioning:
        if not negative or self.model.text_sees_image:
            return self.model.encode_text(job, text, picture)
        if text not in self._kept:
            self._kept[text] = self.model.encode_text(job, text, picture)
        self._kept.move_to_end(text)
        while len(self._kept) > NEGATIVES_KEPT:
            self._kept.popitem(last=False)
        return self._kept[text]


def load_picture(model: DiffusionModel, job: MediaJob) -> Image | None:
    """The request's image, through the family's own hook; None if it has none."""
    from PIL import ImageOps

    source = job.image if job.image is not None else job.image_path
    if source is None:
        return None
    data = Path(source).read_bytes() if isinstance(source, str) else source
    picture = decode(open_image(data, model.spec.min_image_side, "image"), "image")
    return model.prepare_image(job, ImageOps.exif_transpose(picture))


def denoise(
    model: DiffusionModel, ranks: Ranks, job: MediaJob, encoded: Encoded, latents: Tensor
) -> Tensor:
    """From noise to latents, one step after the other; the same on every rank."""

    def start() -> Any:
        scheduler = _make_scheduler(model.parts.scheduler, job)
        model.set_timesteps(job, scheduler, latents)
        # Without it the first step looks its own index up, which waits for the device.
        scheduler.set_begin_index(0)
        return scheduler

    scheduler = contain(ranks, start)
    for t in scheduler.timesteps:
        latents = _step(model, ranks, job, encoded, latents, t, scheduler)
    return latents


def _make_scheduler(template: Any, job: MediaJob) -> Any:
    """A fresh one: schedulers keep the state of a run."""
    if job.num_inference_steps == 1 and template.config.get("shift_terminal"):
        # One step has no end to be stretched to: diffusers 0.42 divides 0 by 0.
        return type(template).from_config(template.config, shift_terminal=None)
    return type(template).from_config(template.config)


def _step(
    model: DiffusionModel,
    ranks: Ranks,
    job: MediaJob,
    encoded: Encoded,
    latents: Tensor,
    t: Tensor,
    scheduler: Any,
) -> Tensor:
    def predict(branch: int) -> Tensor:
        text = encoded.text[branch]
        assert text is not None
        return model.predict(job, latents, t, text, encoded.image)

    outputs = run_branches(ranks, len(encoded.text), latents, predict)

    def advance() -> Tensor:
        guided = outputs[0]
        if len(outputs) == 2:
            guided = model.combine(outputs[0], outputs[1], job.cfg_scale)
        moved: Tensor = scheduler.step(guided, t, latents, return_dict=False)[0]
        return moved.to(latents.dtype)

    return contain(ranks, advance)

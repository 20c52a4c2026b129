"""A diffusion model on one rank: takes requests in turn, one at a time."""

from __future__ import annotations

import gc
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import torch

from warmup.engine.args import ServerArgs
from warmup.engine.diffusion.loading import load_model
from warmup.engine.diffusion.model import DiffusionModel
from warmup.engine.diffusion.params import MediaJob, merge
from warmup.engine.diffusion.stages import Encoded, TextEncoding, contain, denoise, load_picture
from warmup.engine.diffusion.validation import validate
from warmup.engine.images import encode_apng, encode_png, make_warmup_image
from warmup.engine.messages import RankReply, Request, RequestError
from warmup.engine.ranks import Ranks

if TYPE_CHECKING:
    from PIL.Image import Image

_log = logging.getLogger("warmup.engine")


class DiffusionRunner:
    """Requests: `generate` {"given": Sampling, "image": bytes, "image_path": str} (the last two if
    there are any) → {"media": [bytes], "type": "png" or "apng"}; `warmup_image` → its path."""

    def __init__(self, args: ServerArgs, ranks: Ranks, model: DiffusionModel) -> None:
        self.args = args
        self.ranks = ranks
        self.model = model
        self.text_encoding = TextEncoding(model, ranks)
        self._queue: deque[Request] = deque()
        self._warned = False

    @property
    def info(self) -> dict[str, Any]:
        model = self.model
        return {"device": str(model.device), "dtype": str(model.dtype), "kernels": model.kernels}

    @property
    def has_work(self) -> bool:
        return bool(self._queue)

    def admit(self, requests: list[Request]) -> list[RankReply]:
        self._queue.extend(requests)
        return []

    def abort(self, request_id: str) -> None:
        self._queue = deque(each for each in self._queue if each.id != request_id)

    def step(self) -> list[RankReply]:
        request = self._queue.popleft()
        try:
            if request.kind == "warmup_image":
                data: Any = make_warmup_image(self.ranks, **request.payload)
            else:
                data = self.generate(merge(defaults=self.model.parts.defaults, **request.payload))
        except RequestError as error:
            if error.failure.kind == "oom":
                _free_memory()
            return [RankReply(request.id, failure=error.failure)]
        return [RankReply(request.id, data)]

    @torch.inference_mode()
    def generate(self, job: MediaJob) -> dict[str, Any]:
        """Run every stage. Raises the same `RequestError` on every rank."""
        encoded = contain(self.ranks, lambda: self._prepare(job))
        self._warn_once(job)
        media = [self._make_one(job, encoded, job.seed + index) for index in range(job.n)]
        kind = "apng" if self.model.spec.task.makes_video else "png"
        return {"media": media, "type": kind}

    def _make_one(self, job: MediaJob, encoded: Encoded, seed: int) -> bytes:
        def draw() -> torch.Tensor:
            return self.model.make_noise(job, torch.Generator("cpu").manual_seed(seed))

        noise = contain(self.ranks, draw)
        latents = denoise(self.model, self.ranks, job, encoded, noise)
        return contain(self.ranks, lambda: self._finish(job, latents, encoded))

    def _prepare(self, job: MediaJob) -> Encoded:
        spec = self.model.spec
        validate(job, spec, self.args.cfg_parallel, self.args.cfg_off_policy)
        self.model.check_job(job)
        picture = load_picture(self.model, job)
        text = self.text_encoding.run(job, picture)
        return Encoded(text, self.model.encode_image(job, picture))

    def _finish(self, job: MediaJob, latents: torch.Tensor, encoded: Encoded) -> bytes:
        """Only rank 0's picture leaves; the others spare themselves the decoding."""
        if not self.ranks.is_first:
            return b""
        frames: list[Image] = self.model.decode(job, latents, encoded.image)
        if self.model.spec.task.makes_video:
            return encode_apng(frames, job.fps)
        return encode_png(frames[0])

    def _warn_once(self, job: MediaJob) -> None:
        if self.args.cfg_parallel and not job.do_classifier_free_guidance and not self._warned:
            self._warned = True
            if self.ranks.is_first:
                _log.warning(
                    "a request without guidance on a CFG-parallel server: it is served by one rank"
                    " and the others idle (--cfg-off-policy serve); said once"
                )

    def get_stats(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        pass


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def make_runner(args: ServerArgs, ranks: Ranks) -> DiffusionRunner:
    return DiffusionRunner(args, ranks, load_model(args, ranks.device))

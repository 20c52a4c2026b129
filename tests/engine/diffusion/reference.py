"""diffusers' own pipelines over our tiny folders: the numbers that ours must meet."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image

from warmup.engine.args import ServerArgs
from warmup.engine.diffusion.families import flux2
from warmup.engine.diffusion.loading import load_model
from warmup.engine.diffusion.model import DiffusionModel
from warmup.engine.diffusion.runner import DiffusionRunner
from warmup.engine.ranks import Ranks

PROMPT = "a runner that is warm"
SEED = 7


def make_picture(width: int = 96, height: int = 80) -> bytes:
    rng = numpy.random.default_rng(3)
    buffer = io.BytesIO()
    coarse = Image.fromarray(rng.integers(0, 255, (5, 6, 3), dtype=numpy.uint8))
    coarse.resize((width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def make_local_runner(folder: Path, **settings: Any) -> DiffusionRunner:
    """A single rank in this process."""
    args = ServerArgs(model=str(folder), **settings)
    ranks = Ranks(args, 0)
    return DiffusionRunner(args, ranks, load_model(args, torch.device("cpu")))


class _Processor:
    """What the pipeline asks of Qwen2VLProcessor, which wants torchvision."""

    def __init__(self, model: DiffusionModel) -> None:
        self.images = model.parts.processor.image_processor
        self.tokenizer = model.parts.tokenizer

    def __call__(self, text: list[str], images: Any, **_: Any) -> Any:
        from transformers import BatchFeature

        pictures = self.images(images=images, return_tensors="pt")
        count = int(pictures["image_grid_thw"].prod()) // self.images.merge_size**2
        words = [each.replace("<|image_pad|>", "<|image_pad|>" * count) for each in text]
        return BatchFeature({**self.tokenizer(words, return_tensors="pt"), **pictures})


def run_pipeline(model: DiffusionModel, picture: bytes | None, **sampling: Any) -> numpy.ndarray:
    """The pictures of diffusers' pipeline over the same parts: [frames, height, width, 3]."""
    parts = vars(model.parts).copy()
    parts.pop("index")
    parts.pop("defaults")
    image = Image.open(io.BytesIO(picture)).convert("RGB") if picture is not None else None
    extra: dict[str, Any] = {}
    name = model.spec.name
    if name == "qwen-image-edit":
        parts["processor"] = _Processor(model)
        extra["image"] = image
    if name == "wan-i2v":
        parts["image_processor"] = parts["image_processor"].image_processor
        extra["image"] = image
    if name == "flux2":
        parts["tokenizer"] = parts["tokenizer"].tokenizer
        extra |= {"image": image, "text_encoder_out_layers": (1, 2, 3)}
        assert flux2.TEXT_TOKENS == 512
    pipeline = getattr(importlib.import_module("diffusers"), model.spec.pipeline)(**parts)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(SEED)
    output = pipeline(prompt=PROMPT, generator=generator, output_type="np", **sampling, **extra)
    frames = output.frames[0] if hasattr(output, "frames") else output.images
    return numpy.asarray(frames)


def read_frames(media: bytes) -> numpy.ndarray:
    """A PNG or APNG as [frames, height, width, 3] in 0..1."""
    with Image.open(io.BytesIO(media)) as opened:
        frames = []
        for index in range(getattr(opened, "n_frames", 1)):
            opened.seek(index)
            frames.append(numpy.asarray(opened.convert("RGB"), dtype=numpy.float32) / 255)
    return numpy.stack(frames)

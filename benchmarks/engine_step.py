"""One denoising step of ours beside the same step of plain diffusers, in one run.

`python -m benchmarks.engine_step [--size tiny|published] [--steps N] [--torch-compile] [--fp8]`.
Published: SD3 medium's transformer at 1024×1024 and Wan 2.1's at its 1.3 B size (832×480, 17
frames), random weights, bf16, for a GPU; tiny is a check that this program runs, and no result.

Ours is the engine's own step: `predict` per branch, `combine`, the scheduler. Plain is what the
pipelines do: both branches through an unchanged copy of the same transformer, SD3's in one batch.
Both get the same inputs, and their latents are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.table import get_machine, median, print_table
from warmup.engine.args import ServerArgs
from warmup.engine.backends import load
from warmup.engine.diffusion.families import sd3, wan_i2v
from warmup.engine.diffusion.loading import cast, tune
from warmup.engine.diffusion.model import DiffusionModel
from warmup.engine.diffusion.params import MediaJob, Sampling, merge

# Published config.json files: stabilityai/stable-diffusion-3-medium-diffusers, transformer; and
# Wan 2.1 1.3B's image-to-video variant (36 input channels, no vision branch).
SD3 = {
    "published": {"sample_size": 128, "num_layers": 24, "attention_head_dim": 64,
                  "num_attention_heads": 24, "joint_attention_dim": 4096,
                  "caption_projection_dim": 1536, "pooled_projection_dim": 2048,
                  "pos_embed_max_size": 192},
    "tiny": {"sample_size": 8, "num_layers": 2, "attention_head_dim": 8,
             "num_attention_heads": 2, "joint_attention_dim": 32, "caption_projection_dim": 16,
             "pooled_projection_dim": 32, "pos_embed_max_size": 64},
}  # fmt: skip
WAN = {
    "published": {"num_attention_heads": 12, "attention_head_dim": 128, "in_channels": 36,
                  "text_dim": 4096, "ffn_dim": 8960, "num_layers": 30},
    "tiny": {"num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 36,
             "text_dim": 32, "freq_dim": 32, "ffn_dim": 32, "num_layers": 2},
}  # fmt: skip
SHAPES = {"published": {"sd3": (1024, 1024, 1), "wan-i2v": (832, 480, 17)},
          "tiny": {"sd3": (64, 64, 1), "wan-i2v": (64, 64, 9)}}  # fmt: skip
SCALE = 5.0

Step = Callable[[], Any]


def make_model(family: str, size: str, device: torch.device, dtype: torch.dtype) -> DiffusionModel:
    """A model of a transformer alone: what a step needs."""
    import diffusers

    spec = {"sd3": sd3.SPEC, "wan-i2v": wan_i2v.SPEC}[family]
    cls = diffusers.SD3Transformer2DModel if family == "sd3" else diffusers.WanTransformer3DModel
    torch.manual_seed(0)
    with torch.device(device):
        transformer = cls(**(SD3 if family == "sd3" else WAN)[size])
    transformer = cast(transformer, dtype).eval().requires_grad_(False)
    parts = SimpleNamespace(transformer=transformer, index={}, vae=None)
    model: DiffusionModel = load(spec.model)(spec, parts, device, dtype)
    return model


def make_inputs(
    model: DiffusionModel, job: MediaJob
) -> tuple[Any, list[dict[str, Any]], dict[str, Any]]:
    """Latents, the text of two branches, and the image: random, of the real shapes."""

    def draw(*shape: int, dtype: torch.dtype = model.dtype) -> torch.Tensor:
        return torch.randn(shape, device=model.device, dtype=torch.float32).to(dtype)

    config = model.parts.transformer.config
    if model.spec.name == "sd3":
        latents = draw(1, 16, job.height // 8, job.width // 8)
        texts = [
            {
                "embeds": draw(1, 333, config.joint_attention_dim),
                "pooled": draw(1, config.pooled_projection_dim),
            }
            for _ in range(2)
        ]
        return latents, texts, {}
    grid = ((job.num_frames - 1) // 4 + 1, job.height // 8, job.width // 8)
    latents = draw(1, 16, *grid, dtype=torch.float32)
    texts = [{"embeds": draw(1, 512, config.text_dim)} for _ in range(2)]
    return latents, texts, {"condition": draw(1, 20, *grid), "embeds": None}


def make_ours(model: DiffusionModel, job: MediaJob, inputs: Any, t: torch.Tensor) -> Step:
    latents, texts, image = inputs

    def step() -> torch.Tensor:
        outputs = [model.predict(job, latents, t, text, image) for text in texts]
        return model.combine(outputs[0], outputs[1], SCALE)

    return step


def make_plain(transformer: Any, model: DiffusionModel, inputs: Any, t: torch.Tensor) -> Step:
    latents, texts, image = inputs

    def run(latents: torch.Tensor, **conditioning: Any) -> torch.Tensor:
        times = t.expand(latents.shape[0])
        return transformer(latents, timestep=times, return_dict=False, **conditioning)[0]

    def step_sd3() -> torch.Tensor:
        negative, positive = run(
            torch.cat([latents] * 2),
            encoder_hidden_states=torch.cat([texts[1]["embeds"], texts[0]["embeds"]]),
            pooled_projections=torch.cat([texts[1]["pooled"], texts[0]["pooled"]]),
        ).chunk(2)
        return negative + SCALE * (positive - negative)

    def step_wan() -> torch.Tensor:
        joined = torch.cat([latents, image["condition"]], dim=1).to(model.dtype)
        positive = run(joined, encoder_hidden_states=texts[0]["embeds"])
        negative = run(joined, encoder_hidden_states=texts[1]["embeds"])
        return negative + SCALE * (positive - negative)

    return step_sd3 if model.spec.name == "sd3" else step_wan


def time_step(step: Step, device: torch.device, count: int) -> float:
    """Median seconds, after two that are not counted (compilation, caches)."""

    def once() -> float:
        begin = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    for _ in range(2):
        once()
    return median([once() for _ in range(count)])


def measure(family: str, size: str, args: ServerArgs, count: int) -> list[str]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = make_model(family, size, device, dtype)
    plain = copy.deepcopy(model.parts.transformer)
    tune(model, args)
    width, height, frames = SHAPES[size][family]
    given = Sampling(prompt="x", width=width, height=height, num_frames=frames)
    job = merge(given, model.spec.defaults)
    inputs = make_inputs(model, job)
    t = torch.tensor(500.0, device=device)
    ours, theirs = make_ours(model, job, inputs, t), make_plain(plain, model, inputs, t)
    expected = theirs().float()
    error = float((ours().float() - expected).norm() / expected.norm())
    seconds, plain_seconds = (time_step(step, device, count) for step in (ours, theirs))
    return [
        family, f"{width}x{height}x{frames}", str(dtype).removeprefix("torch."),
        f"{seconds * 1e3:.2f}", f"{plain_seconds * 1e3:.2f}", f"{plain_seconds / seconds:.2f}",
        f"{error:.1e}",
    ]  # fmt: skip


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.engine_step")
    parser.add_argument("--size", choices=("tiny", "published"), default="published")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--torch-compile", action="store_true")
    parser.add_argument("--fp8", action="store_true")
    given = parser.parse_args(argv)
    args = ServerArgs(torch_compile=given.torch_compile, fp8=given.fp8)
    families = ("sd3", "wan-i2v")
    with torch.inference_mode():
        rows = [measure(family, given.size, args, given.steps) for family in families]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"{get_machine()}, {device}, torch {torch.__version__}")
    print(f"`python -m benchmarks.engine_step {' '.join(argv)}`\n")
    head = ["family", "shape", "dtype", "ours ms", "plain ms", "plain ÷ ours", "rel. error"]
    print_table(head, rows)


if __name__ == "__main__":
    main(sys.argv[1:])

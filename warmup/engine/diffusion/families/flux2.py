"""Flux 2: text, and if wanted an image, to image. Guidance is distilled into the model, so there
is one branch. Facts from diffusers 0.42 (flux2/pipeline_flux2.py) and FLUX.2-dev's folder."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from warmup.engine.diffusion.model import (
    Conditioning,
    DiffusionModel,
    from_tokens,
    get_latents,
    patchify,
    to_pictures,
    to_pixels,
    to_tokens,
    unpatchify,
)
from warmup.engine.diffusion.params import MediaJob, Sampling
from warmup.engine.diffusion.spec import Component, DiffusionTask, FamilySpec
from warmup.engine.messages import invalid

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

TEXT_TOKENS = 512
MAX_IMAGE_AREA = 1024 * 1024
MAX_ASPECT = 8
# Position of the reference image on the time axis; the image being made is at 0.
IMAGE_TIME = 10

SPEC = FamilySpec(
    name="flux2",
    pipeline="Flux2Pipeline",
    task=DiffusionTask.TI2I,
    components=MappingProxyType(
        {
            "transformer": Component(("Flux2Transformer2DModel",)),
            "vae": Component(("AutoencoderKLFlux2",)),
            "scheduler": Component(("FlowMatchEulerDiscreteScheduler",)),
            "text_encoder": Component(("Mistral3ForConditionalGeneration",)),
            "tokenizer": Component(("PixtralProcessor", "AutoProcessor")),
        }
    ),
    defaults=Sampling(width=1024, height=1024, guidance_scale=4.0, num_inference_steps=50),
    size_source=("vae", "sample_size", False),
    has_cfg=False,
    min_image_side=64,
    model="warmup.engine.diffusion.families.flux2:Flux2",
)


class Flux2(DiffusionModel):
    @property
    def token_side(self) -> int:
        """Pixels per token side: the VAE's scale, and 2×2 latents in one token."""
        return int(2 ** len(self.parts.vae.config.block_out_channels))

    def encode_text(self, job: MediaJob, text: str, picture: Image | None) -> Conditioning:
        """`embeds` [1, 512, 3·hidden]: the language model's layers at ¼, ½ and ¾ of its depth
        (10, 20 and 30 of FLUX.2-dev's 40), side by side; `ids` their positions."""
        import torch
        from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE

        messages = [
            {"role": role, "content": [{"type": "text", "text": words}]}
            # A literal [IMG] would be counted as an image.
            for role, words in (("system", SYSTEM_MESSAGE), ("user", text.replace("[IMG]", "")))
        ]
        inputs = self.parts.tokenizer.tokenizer.apply_chat_template(
            [messages], add_generation_prompt=False, tokenize=True, return_dict=True,
            return_tensors="pt", padding="max_length", truncation=True, max_length=TEXT_TOKENS,
        )  # fmt: skip
        encoder = self.parts.text_encoder
        hidden = encoder(
            input_ids=inputs["input_ids"].to(self.device),
            attention_mask=inputs["attention_mask"].to(self.device),
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states
        depth = len(hidden) - 1
        embeds = torch.cat([hidden[depth * quarter // 4] for quarter in (1, 2, 3)], dim=-1)
        token = torch.arange(TEXT_TOKENS)
        return {
            "embeds": embeds.to(self.dtype),
            "ids": self._make_ids(torch.zeros(1), torch.zeros(1), torch.zeros(1), token),
        }

    def _make_ids(self, *axes: Tensor) -> Tensor:
        """Every combination of time, row, column and text position: [1, N, 4]."""
        import torch

        ids = torch.cartesian_prod(*(axis.to(torch.int64) for axis in axes))
        return ids.unsqueeze(0).to(self.device)

    def _make_image_ids(self, time: int, height: int, width: int) -> Tensor:
        import torch

        rows, columns = torch.arange(height), torch.arange(width)
        return self._make_ids(torch.tensor([time]), rows, columns, torch.zeros(1))

    def prepare_image(self, job: MediaJob, picture: Image) -> Image:
        """The pre-encode hook: at most a megapixel, no strip, cropped to whole tokens. The model
        has seen nothing else, and a side under 64 pixels left no token (sglang#28184)."""
        width, height = picture.size
        if max(width / height, height / width) > MAX_ASPECT:
            raise invalid(f"image of {width}x{height} is longer than {MAX_ASPECT}:1", "image")
        if width * height > MAX_IMAGE_AREA:
            from PIL import Image

            scale = (MAX_IMAGE_AREA / (width * height)) ** 0.5
            width, height = int(width * scale), int(height * scale)
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        crop_width, crop_height = (
            side // self.token_side * self.token_side for side in (width, height)
        )
        left, top = (width - crop_width) // 2, (height - crop_height) // 2
        return picture.crop((left, top, left + crop_width, top + crop_height))

    def encode_image(self, job: MediaJob, picture: Image | None) -> Conditioning:
        """`latents` [1, N, C] and `ids` of the reference image; nothing without one."""
        if picture is None:
            return {}
        pixels = to_pixels(picture, self.device, self.parts.vae.dtype)
        latents = patchify(get_latents(self.parts.vae.encode(pixels)))
        mean, std = self._get_stats(latents)
        latents = (latents - mean) / std
        ids = self._make_image_ids(IMAGE_TIME, latents.shape[-2], latents.shape[-1])
        return {"latents": to_tokens(latents), "ids": ids}

    def _get_stats(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the patched latents: the VAE keeps them in a batch norm."""
        norm = self.parts.vae.bn
        mean = norm.running_mean.view(1, -1, 1, 1).to(like)
        variance = norm.running_var.view(1, -1, 1, 1) + self.parts.vae.config.batch_norm_eps
        return mean, variance.sqrt().to(like)

    def make_noise(self, job: MediaJob, generator: torch.Generator) -> Tensor:
        side = self.token_side
        channels = self.parts.transformer.config.in_channels
        shape = (1, channels, job.height // side, job.width // side)
        return to_tokens(self.draw(shape, generator, self.dtype))

    def set_timesteps(self, job: MediaJob, scheduler: Any, latents: Tensor) -> None:
        import numpy

        steps = job.num_inference_steps
        sigmas = None
        if not scheduler.config.get("use_flow_sigmas"):
            sigmas = numpy.linspace(1.0, 1 / steps, steps)
        mu = get_empirical_shift(latents.shape[1], steps)
        scheduler.set_timesteps(
            steps if sigmas is None else None, device=self.device, sigmas=sigmas, mu=mu
        )

    def predict(
        self, job: MediaJob, latents: Tensor, t: Tensor, text: Conditioning, image: Conditioning
    ) -> Tensor:
        import torch

        side = self.token_side
        ids = self._make_image_ids(0, job.height // side, job.width // side)
        tokens = latents
        if image:
            tokens = torch.cat([latents, image["latents"].to(latents.dtype)], dim=1)
            ids = torch.cat([ids, image["ids"]], dim=1)
        guidance = torch.full([1], job.guidance_scale, device=self.device, dtype=torch.float32)
        prediction = self.parts.transformer(
            hidden_states=tokens.to(self.dtype),
            timestep=t.expand(1).to(latents.dtype) / 1000,
            guidance=guidance,
            encoder_hidden_states=text["embeds"],
            txt_ids=text["ids"],
            img_ids=ids,
            return_dict=False,
        )[0]
        return prediction[:, : latents.shape[1]]

    def decode(self, job: MediaJob, latents: Tensor, image: Conditioning) -> list[Image]:
        side = self.token_side
        grid = from_tokens(latents, job.height // side, job.width // side)
        mean, std = self._get_stats(grid)
        pixels = self.parts.vae.decode(unpatchify(grid * std + mean), return_dict=False)[0]
        return to_pictures(pixels)


def get_empirical_shift(num_tokens: int, num_steps: int) -> float:
    """The schedule's shift (mu): two lines over the number of image tokens, fitted at 10 and at 200
    steps, and between them linear in the steps; beyond 4300 tokens the second line alone.

    Fit and constants: black-forest-labs/flux2, src/flux2/sampling.py, at 5a5d316.
    """
    at_200 = 0.00016927 * num_tokens + 0.45666666
    if num_tokens > 4300:
        return at_200
    at_10 = 8.73809524e-05 * num_tokens + 1.89833333
    slope = (at_200 - at_10) / 190.0
    return slope * num_steps + (at_200 - 200.0 * slope)

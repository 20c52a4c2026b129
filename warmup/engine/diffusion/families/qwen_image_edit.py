"""Qwen-Image-Edit: a prompt and an image to an image; guided by `true_cfg_scale`. Facts from
diffusers 0.42 (qwenimage/pipeline_qwenimage_edit.py) and the published folder."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from warmup.engine.diffusion.model import (
    Conditioning,
    DiffusionModel,
    from_tokens,
    get_channel_stats,
    get_latents,
    get_shift,
    patchify,
    to_pictures,
    to_pixels,
    to_tokens,
    unpatchify,
)
from warmup.engine.diffusion.params import MediaJob, Sampling
from warmup.engine.diffusion.spec import Component, DiffusionTask, FamilySpec

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

IMAGE_PAD = "<|image_pad|>"
# The words that the model was trained with, and how many tokens of them its authors cut off.
TEMPLATE = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture,"
    " objects, background), then explain how the user's text instruction should alter or modify the"
    " image. Generate a new image that meets the user's requirements while maintaining consistency"
    " with the original input where appropriate.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
    + IMAGE_PAD
    + "<|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n"
)
TEMPLATE_TOKENS_CUT = 64

SPEC = FamilySpec(
    name="qwen-image-edit",
    pipeline="QwenImageEditPipeline",
    task=DiffusionTask.TI2I,
    components=MappingProxyType(
        {
            "transformer": Component(("QwenImageTransformer2DModel",)),
            "vae": Component(("AutoencoderKLQwenImage",)),
            "scheduler": Component(("FlowMatchEulerDiscreteScheduler",)),
            "text_encoder": Component(("Qwen2_5_VLForConditionalGeneration",)),
            "tokenizer": Component(),
            "processor": Component(("Qwen2VLProcessor", "Qwen2_5_VLProcessor")),
        }
    ),
    # The published example's negative prompt is one space.
    defaults=Sampling(
        width=1024, height=1024, true_cfg_scale=4.0, negative_prompt=" ", num_inference_steps=50
    ),
    requires_image=True,
    requires_prompt=True,
    model="warmup.engine.diffusion.families.qwen_image_edit:QwenImageEdit",
)


class QwenImageEdit(DiffusionModel):
    text_sees_image = True

    @property
    def token_side(self) -> int:
        """Pixels per token side: the VAE's scale, and 2×2 latents in one token."""
        return int(2 ** (len(self.parts.vae.temperal_downsample) + 1))

    def prepare_image(self, job: MediaJob, picture: Image) -> Image:
        """Scaled to the model's own area (a megapixel), sides multiples of 32."""
        from PIL import Image

        area = self.default_area
        ratio = picture.width / picture.height
        width = math.sqrt(area * ratio)
        size = tuple(max(1, round(side / 32)) * 32 for side in (width, width / ratio))
        return picture.resize(size, Image.Resampling.LANCZOS)

    @property
    def default_area(self) -> int:
        defaults = self.parts.defaults
        return int(defaults.width * defaults.height)

    def encode_text(self, job: MediaJob, text: str, picture: Image | None) -> Conditioning:
        """`embeds` [1, L, hidden]: the vision-language model's last hidden states of the template
        with prompt and picture, less the template's beginning."""
        assert picture is not None
        processor = self.parts.processor.image_processor
        images = processor(images=picture, return_tensors="pt")
        merged = int(images["image_grid_thw"].prod()) // processor.merge_size**2
        words = TEMPLATE.format(text).replace(IMAGE_PAD, IMAGE_PAD * merged, 1)
        tokens = self.parts.tokenizer(words, return_tensors="pt")
        # No mm_token_type_ids: the pipeline gives none, and positions depend on them.
        output = self.parts.text_encoder(
            input_ids=tokens.input_ids.to(self.device),
            attention_mask=tokens.attention_mask.to(self.device),
            pixel_values=images["pixel_values"].to(self.device, self.dtype),
            image_grid_thw=images["image_grid_thw"].to(self.device),
            output_hidden_states=True,
        )
        return {"embeds": output.hidden_states[-1][:, TEMPLATE_TOKENS_CUT:].to(self.dtype)}

    def encode_image(self, job: MediaJob, picture: Image | None) -> Conditioning:
        """`latents` [1, N, C] of the picture, and its size in tokens, `grid`."""
        assert picture is not None
        pixels = to_pixels(picture, self.device, self.dtype).unsqueeze(2)
        latents = get_latents(self.parts.vae.encode(pixels))
        mean, std = get_channel_stats(self.parts.vae.config, latents)
        patches = patchify(((latents - mean) / std)[:, :, 0])
        return {"latents": to_tokens(patches), "grid": tuple(patches.shape[-2:])}

    def make_noise(self, job: MediaJob, generator: torch.Generator) -> Tensor:
        rows, columns = self._get_grid(job)
        channels = self.parts.transformer.config.in_channels // 4
        shape = (1, channels, rows * 2, columns * 2)
        return to_tokens(patchify(self.draw(shape, generator, self.dtype)))

    def _get_grid(self, job: MediaJob) -> tuple[int, int]:
        return job.height // self.token_side, job.width // self.token_side

    def set_timesteps(self, job: MediaJob, scheduler: Any, latents: Tensor) -> None:
        import numpy

        steps = job.num_inference_steps
        sigmas = numpy.linspace(1.0, 1 / steps, steps)
        mu = get_shift(latents.shape[1], scheduler.config, 1.15)
        scheduler.set_timesteps(sigmas=sigmas, device=self.device, mu=mu)

    def predict(
        self, job: MediaJob, latents: Tensor, t: Tensor, text: Conditioning, image: Conditioning
    ) -> Tensor:
        import torch

        prediction = self.parts.transformer(
            hidden_states=torch.cat([latents, image["latents"].to(latents.dtype)], dim=1),
            timestep=t.expand(1).to(latents.dtype) / 1000,
            encoder_hidden_states=text["embeds"],
            encoder_hidden_states_mask=None,
            img_shapes=[[(1, *self._get_grid(job)), (1, *image["grid"])]],
            return_dict=False,
        )[0]
        return prediction[:, : latents.shape[1]]

    def combine(self, positive: Tensor, negative: Tensor, scale: float) -> Tensor:
        """Guided, then scaled back to the length of the positive prediction, token by token."""
        guided = super().combine(positive, negative, scale)
        return guided * (positive.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True))

    def decode(self, job: MediaJob, latents: Tensor, image: Conditioning) -> list[Image]:
        grid = unpatchify(from_tokens(latents, *self._get_grid(job))).unsqueeze(2)
        mean, std = get_channel_stats(self.parts.vae.config, grid)
        pixels = self.parts.vae.decode(grid * std + mean, return_dict=False)[0]
        return to_pictures(pixels[:, :, 0])

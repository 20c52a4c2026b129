"""Wan 2.1 image to video, guided. Facts from diffusers 0.42 (wan/pipeline_wan_i2v.py) and Wan2.1
(wan/configs/shared_config.py)."""

from __future__ import annotations

import html
from types import MappingProxyType
from typing import TYPE_CHECKING

from warmup.engine.diffusion.model import (
    Conditioning,
    DiffusionModel,
    get_channel_stats,
    get_latents,
    to_pictures,
    to_pixels,
)
from warmup.engine.diffusion.params import MediaJob, Sampling
from warmup.engine.diffusion.spec import Component, DiffusionTask, FamilySpec
from warmup.words.errors import UsageError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

TEXT_TOKENS = 512
# shared_config.py, sample_neg_prompt.
NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，"
    "形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)

SPEC = FamilySpec(
    name="wan-i2v",
    pipeline="WanImageToVideoPipeline",
    task=DiffusionTask.I2V,
    components=MappingProxyType(
        {
            "transformer": Component(("WanTransformer3DModel",)),
            "vae": Component(("AutoencoderKLWan",), in_float32=True),
            "scheduler": Component(("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler")),
            "text_encoder": Component(("UMT5EncoderModel",)),
            "tokenizer": Component(),
            "image_encoder": Component(
                ("CLIPVisionModel", "CLIPVisionModelWithProjection"),
                required=False,
                in_float32=True,
            ),
            "image_processor": Component(required=False),
        }
    ),
    defaults=Sampling(
        width=832,
        height=480,
        num_frames=81,
        fps=16,
        guidance_scale=5.0,
        negative_prompt=NEGATIVE_PROMPT,
        num_inference_steps=50,
    ),
    model="warmup.engine.diffusion.families.wan_i2v:WanI2V",
)


class WanI2V(DiffusionModel):
    def check(self) -> None:
        """Wan 2.2's two-stage and per-token timesteps are other models; raises `UsageError`."""
        for key in ("boundary_ratio", "expand_timesteps"):
            if self.parts.index.get(key):
                raise UsageError(f"model_index.json: {key} (Wan 2.2) is not served, Wan 2.1 is")

    def encode_text(self, job: MediaJob, text: str, picture: Image | None) -> Conditioning:
        """`embeds` [1, 512, text_dim], zero behind the text's end."""
        clean = " ".join(html.unescape(html.unescape(text)).split())
        tokens = self.parts.tokenizer(
            clean, padding="max_length", max_length=TEXT_TOKENS, truncation=True,
            add_special_tokens=True, return_attention_mask=True, return_tensors="pt",
        )  # fmt: skip
        mask = tokens.attention_mask.to(self.device)
        states = self.parts.text_encoder(tokens.input_ids.to(self.device), mask).last_hidden_state
        return {"embeds": (states * mask.unsqueeze(-1)).to(self.dtype)}

    def encode_image(self, job: MediaJob, picture: Image | None) -> Conditioning:
        """`condition` [1, 4 + C, F, H, W]: which frames are given, and their latents; `embeds` of
        the vision encoder, where the folder has one."""
        import torch

        assert picture is not None
        pixels = to_pixels(picture, self.device, self.parts.vae.dtype, size=(job.width, job.height))
        video = pixels.new_zeros(1, 3, job.num_frames, job.height, job.width)
        video[:, :, 0] = pixels
        latents = get_latents(self.parts.vae.encode(video)).float()
        mean, std = get_channel_stats(self.parts.vae.config, latents)
        latents = (latents - mean) / std
        step = self.spec.frame_multiple
        given = latents.new_zeros(1, step, *latents.shape[2:])
        given[:, :, 0] = 1
        return {
            "condition": torch.cat([given, latents], dim=1),
            "embeds": self._encode_vision(picture),
        }

    def _encode_vision(self, picture: Image) -> Tensor | None:
        if self.parts.transformer.config.image_dim is None:
            return None
        pixels = self.parts.image_processor.image_processor(images=picture, return_tensors="pt")
        states = self.parts.image_encoder(
            pixel_values=pixels["pixel_values"].to(self.device, self.parts.image_encoder.dtype),
            output_hidden_states=True,
        ).hidden_states
        return states[-2].to(self.dtype)

    def make_noise(self, job: MediaJob, generator: torch.Generator) -> Tensor:
        """[1, C, F, H, W] in float32, whatever the transformer computes in."""
        import torch

        config = self.parts.vae.config
        num_frames = (job.num_frames - 1) // config.scale_factor_temporal + 1
        side = config.scale_factor_spatial
        shape = (1, config.z_dim, num_frames, job.height // side, job.width // side)
        return self.draw(shape, generator, torch.float32)

    def predict(
        self, job: MediaJob, latents: Tensor, t: Tensor, text: Conditioning, image: Conditioning
    ) -> Tensor:
        import torch

        return self.parts.transformer(
            hidden_states=torch.cat([latents, image["condition"]], dim=1).to(self.dtype),
            timestep=t.expand(1),
            encoder_hidden_states=text["embeds"],
            encoder_hidden_states_image=image["embeds"],
            return_dict=False,
        )[0]

    def decode(self, job: MediaJob, latents: Tensor, image: Conditioning) -> list[Image]:
        latents = latents.to(self.parts.vae.dtype)
        mean, std = get_channel_stats(self.parts.vae.config, latents)
        frames = self.parts.vae.decode(latents * std + mean, return_dict=False)[0]
        return to_pictures(frames[0].transpose(0, 1))

"""Stable Diffusion 3: text to image, guided. Facts from diffusers 0.42
(pipeline_stable_diffusion_3.py) and the published model folders."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from warmup.engine.diffusion.model import Conditioning, DiffusionModel, get_shift, to_pictures
from warmup.engine.diffusion.params import MediaJob, Sampling
from warmup.engine.diffusion.spec import Component, DiffusionTask, FamilySpec
from warmup.engine.messages import invalid

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

T5_TOKENS = 256

SPEC = FamilySpec(
    name="sd3",
    pipeline="StableDiffusion3Pipeline",
    task=DiffusionTask.T2I,
    components=MappingProxyType(
        {
            "transformer": Component(("SD3Transformer2DModel",)),
            "vae": Component(("AutoencoderKL",)),
            "scheduler": Component(("FlowMatchEulerDiscreteScheduler",)),
            "text_encoder": Component(("CLIPTextModelWithProjection",)),
            "text_encoder_2": Component(("CLIPTextModelWithProjection",)),
            "text_encoder_3": Component(("T5EncoderModel",), required=False),
            "tokenizer": Component(),
            "tokenizer_2": Component(),
            "tokenizer_3": Component(required=False),
        }
    ),
    # An absent negative prompt is "" to this pipeline, and guidance is on.
    defaults=Sampling(guidance_scale=7.0, negative_prompt="", num_inference_steps=28),
    size_source=("transformer", "sample_size", True),
    model="warmup.engine.diffusion.families.sd3:Sd3",
)


class Sd3(DiffusionModel):
    @property
    def vae_scale(self) -> int:
        return int(2 ** (len(self.parts.vae.config.block_out_channels) - 1))

    def check_job(self, job: MediaJob) -> None:
        """Positions are learned: there are only so many along each side."""
        config = self.parts.transformer.config
        largest = config.pos_embed_max_size * config.patch_size * self.vae_scale
        for name, side in (("width", job.width), ("height", job.height)):
            if side > largest:
                raise invalid(f"{name} may be at most {largest} for this model, not {side}", name)

    def encode_text(self, job: MediaJob, text: str, picture: Image | None) -> Conditioning:
        """`embeds` [1, 77 + 256, joint_attention_dim] and `pooled` [1, pooled_projection_dim]."""
        import torch

        first, first_pooled = self._encode_clip(text, "")
        second, second_pooled = self._encode_clip(text, "_2")
        clip = torch.cat([first, second], dim=-1)
        t5 = self._encode_t5(text, clip)
        clip = torch.nn.functional.pad(clip, (0, t5.shape[-1] - clip.shape[-1]))
        return {
            "embeds": torch.cat([clip, t5], dim=-2),
            "pooled": torch.cat([first_pooled, second_pooled], dim=-1),
        }

    def _encode_clip(self, text: str, suffix: str) -> tuple[Tensor, Tensor]:
        """The hidden states before the last layer, and the projected pooled output."""
        tokenizer = getattr(self.parts, f"tokenizer{suffix}")
        encoder = getattr(self.parts, f"text_encoder{suffix}")
        ids = tokenizer(
            text, padding="max_length", truncation=True, return_tensors="pt",
            max_length=self.parts.tokenizer.model_max_length,
        ).input_ids  # fmt: skip
        output = encoder(ids.to(self.device), output_hidden_states=True)
        return output.hidden_states[-2].to(self.dtype), output[0].to(self.dtype)

    def _encode_t5(self, text: str, like: Tensor) -> Tensor:
        """Zeros where the folder has no T5, as the model was trained to bear."""
        if self.parts.text_encoder_3 is None:
            return like.new_zeros(1, T5_TOKENS, self.parts.transformer.config.joint_attention_dim)
        ids = self.parts.tokenizer_3(
            text, padding="max_length", truncation=True, max_length=T5_TOKENS, return_tensors="pt"
        ).input_ids
        return self.parts.text_encoder_3(ids.to(self.device))[0].to(self.dtype)

    def make_noise(self, job: MediaJob, generator: torch.Generator) -> Tensor:
        channels = self.parts.transformer.config.in_channels
        shape = (1, channels, job.height // self.vae_scale, job.width // self.vae_scale)
        return self.draw(shape, generator, self.dtype)

    def set_timesteps(self, job: MediaJob, scheduler: Any, latents: Tensor) -> None:
        shift = {}
        if scheduler.config.get("use_dynamic_shifting"):
            patch = self.parts.transformer.config.patch_size
            num_tokens = (latents.shape[-2] // patch) * (latents.shape[-1] // patch)
            shift = {"mu": get_shift(num_tokens, scheduler.config, 1.16)}
        scheduler.set_timesteps(job.num_inference_steps, device=self.device, **shift)

    def predict(
        self, job: MediaJob, latents: Tensor, t: Tensor, text: Conditioning, image: Conditioning
    ) -> Tensor:
        return self.parts.transformer(
            hidden_states=latents,
            timestep=t.expand(latents.shape[0]),
            encoder_hidden_states=text["embeds"],
            pooled_projections=text["pooled"],
            return_dict=False,
        )[0]

    def decode(self, job: MediaJob, latents: Tensor, image: Conditioning) -> list[Image]:
        config = self.parts.vae.config
        scaled = latents / config.scaling_factor + (config.shift_factor or 0.0)
        return to_pictures(self.parts.vae.decode(scaled, return_dict=False)[0])

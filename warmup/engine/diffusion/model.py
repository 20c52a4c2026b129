"""What a family must know to run: one small method per stage. The loop around them is ours."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from warmup.engine.diffusion.params import MediaJob
from warmup.engine.diffusion.spec import FamilySpec

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

# What one branch, or the image, adds to the transformer's inputs.
Conditioning = dict[str, Any]


class DiffusionModel:
    """A family's base class: `parts` are the loaded components by their model_index.json names.

    Methods get a `MediaJob` that has been validated. Tensors are on `device`; batches are of one: n
    images run one after the other, so that every shape they meet is the warmed one.
    """

    # Does the text's encoding depend on the image? Then no encoding of it can be kept.
    text_sees_image = False

    def __init__(
        self, spec: FamilySpec, parts: SimpleNamespace, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.spec = spec
        self.parts = parts
        self.device = device
        self.dtype = dtype
        # Our own in place of the model's arithmetic: name → number of modules.
        self.kernels: dict[str, int] = {}
        self.check()

    def check(self) -> None:
        """Raise `UsageError` for a variant of the family that this file does not run."""

    @property
    def transformers(self) -> Sequence[Any]:
        """The modules that denoise: what is compiled and gets our kernels."""
        return [self.parts.transformer]

    def check_job(self, job: MediaJob) -> None:
        """Raise `RequestError` for a size that this model, by its own config, cannot make."""

    def prepare_image(self, job: MediaJob, picture: Image) -> Image:
        """The hook before image encoding: crop, scale, refuse. Runs before the text is encoded."""
        return picture

    def encode_text(self, job: MediaJob, text: str, picture: Image | None) -> Conditioning:
        """The conditioning of one branch."""
        raise NotImplementedError

    def encode_image(self, job: MediaJob, picture: Image | None) -> Conditioning:
        """The conditioning that all branches share."""
        return {}

    def make_noise(self, job: MediaJob, generator: torch.Generator) -> Tensor:
        """The first latents. Drawn on the CPU, so that every rank and device draws the same."""
        raise NotImplementedError

    def set_timesteps(self, job: MediaJob, scheduler: Any, latents: Tensor) -> None:
        scheduler.set_timesteps(job.num_inference_steps, device=self.device)

    def predict(
        self, job: MediaJob, latents: Tensor, t: Tensor, text: Conditioning, image: Conditioning
    ) -> Tensor:
        """One branch of one step: a prediction of the shape of `latents`."""
        raise NotImplementedError

    def combine(self, positive: Tensor, negative: Tensor, scale: float) -> Tensor:
        """Classifier-free guidance, arXiv:2207.12598 in the form of Imagen's equation 2."""
        return negative + scale * (positive - negative)

    def decode(self, job: MediaJob, latents: Tensor, image: Conditioning) -> list[Image]:
        """The picture, or the frames of the video."""
        raise NotImplementedError

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, dtype: Any) -> Tensor:
        import torch

        return torch.randn(shape, generator=generator, dtype=dtype).to(self.device)


def to_pictures(pixels: Tensor) -> list[Image]:
    """[N, 3, H, W] in -1..1 → N pictures."""
    from PIL import Image

    scaled = ((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().byte()
    return [Image.fromarray(each) for each in scaled.permute(0, 2, 3, 1).cpu().numpy()]


def to_pixels(
    picture: Image, device: Any, dtype: Any, size: tuple[int, int] | None = None
) -> Tensor:
    """A picture → [1, 3, height, width] in -1..1, resized by Lanczos to `size` (width, height)."""
    import numpy
    import torch
    from PIL import Image

    if size is not None and picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    array = numpy.asarray(picture, dtype=numpy.float32) / 255.0
    pixels = torch.from_numpy(array).permute(2, 0, 1).unsqueeze(0) * 2.0 - 1.0
    return pixels.to(device=device, dtype=dtype)


def get_shift(num_tokens: int, config: Any, max_shift: float) -> float:
    """The flow-matching schedule's shift (mu), linear in the number of image tokens.

    Constants from the scheduler's config; diffusers 0.42 has the same defaults.
    """
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    first, last = config.get("base_shift", 0.5), config.get("max_shift", max_shift)
    slope = (last - first) / (high - low)
    return float(first + slope * (num_tokens - low))


def get_latents(encoded: Any) -> Tensor:
    """The latents of a VAE encoder's output: `latent_dist`, `latent`, `latents`, or a bare
    distribution, in this order. Of a distribution the mode: encoding must repeat exactly.

    Raises TypeError for anything else.
    """
    distribution = getattr(encoded, "latent_dist", None)
    if distribution is not None:
        return distribution.mode()
    for name in ("latent", "latents"):
        latents = getattr(encoded, name, None)
        if latents is not None:
            return latents
    if callable(getattr(encoded, "mode", None)):
        return encoded.mode()
    raise TypeError(f"VAE encoder output {type(encoded).__name__} holds no latents")


def patchify(latents: Tensor) -> Tensor:
    """[B, C, H, W] → [B, 4C, H/2, W/2]: each 2×2 patch becomes channels."""
    batch, channels, height, width = latents.shape
    patches = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return patches.permute(0, 1, 3, 5, 2, 4).reshape(batch, channels * 4, height // 2, width // 2)


def unpatchify(latents: Tensor) -> Tensor:
    """[B, 4C, H, W] → [B, C, 2H, 2W]."""
    batch, channels, height, width = latents.shape
    patches = latents.reshape(batch, channels // 4, 2, 2, height, width)
    return patches.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels // 4, height * 2, width * 2)


def to_tokens(latents: Tensor) -> Tensor:
    """[B, C, H, W] → [B, H·W, C]."""
    return latents.flatten(2).transpose(1, 2)


def from_tokens(tokens: Tensor, height: int, width: int) -> Tensor:
    """[B, H·W, C] → [B, C, H, W]."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], height, width)


def get_channel_stats(config: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """A video VAE's latents_mean and latents_std, as [1, C, 1, 1, 1] of `like`'s type."""
    shape = (1, config.z_dim, 1, 1, 1)
    mean = like.new_tensor(config.latents_mean).view(shape)
    return mean, like.new_tensor(config.latents_std).view(shape)

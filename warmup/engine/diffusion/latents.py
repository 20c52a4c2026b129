"""What VAEs return, and the few tensor shufflings that several families share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


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

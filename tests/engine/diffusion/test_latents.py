from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from warmup.engine.diffusion.model import (
    from_tokens,
    get_latents,
    patchify,
    to_tokens,
    unpatchify,
)


class _Distribution:
    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    def mode(self) -> torch.Tensor:
        return self.value


ONE, TWO, THREE = torch.ones(1), torch.full((1,), 2.0), torch.full((1,), 3.0)


@pytest.mark.parametrize(
    ("encoded", "latents"),
    [
        (SimpleNamespace(latent_dist=_Distribution(ONE), latent=TWO, latents=THREE), ONE),
        (SimpleNamespace(latent=TWO, latents=THREE), TWO),
        (SimpleNamespace(latents=THREE), THREE),
        (SimpleNamespace(latent_dist=None, latent=None, latents=THREE), THREE),
        (_Distribution(ONE), ONE),
    ],
)
def test_vae_outputs_in_their_order(encoded: object, latents: torch.Tensor) -> None:
    assert get_latents(encoded) is latents


def test_an_output_without_latents_is_named() -> None:
    with pytest.raises(TypeError, match="SimpleNamespace holds no latents"):
        get_latents(SimpleNamespace(sample=ONE))


def test_shuffling_comes_back() -> None:
    latents = torch.randn(2, 3, 4, 6)
    patches = patchify(latents)
    assert patches.shape == (2, 12, 2, 3)
    assert torch.equal(unpatchify(patches), latents)
    # A patch is a 2×2 square, channel by channel.
    assert torch.equal(patches[0, :4, 0, 0], latents[0, 0, :2, :2].flatten())
    assert torch.equal(from_tokens(to_tokens(patches), 2, 3), patches)

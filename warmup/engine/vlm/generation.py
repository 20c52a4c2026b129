"""What the HTTP process asks of the ranks: plain data, images as handles or tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Finish = Literal["stop", "length"]
Grid = tuple[int, int, int]  # patches of an image in time, height, width


def get_num_tokens(grid: Grid, merge: int) -> int:
    """Tokens of an image of `grid` patches, `merge`×`merge` of them a token."""
    return grid[0] * grid[1] * grid[2] // merge**2


@dataclass(frozen=True)
class TokenSampling:
    """How tokens are drawn. temperature: above 0. top_k: 0 for all. seed: 0 ≤ seed < 2⁶³."""

    temperature: float
    seed: int
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True)
class Generation:
    """Tokens after `ids`; the likeliest ones where `sampling` is None.

    pixels: (patches, values) of all images in order: sent as `engine/shm` has it, a tensor where
    it is run; None without images. grids: of each image.
    max_tokens: at least 1. copies: so many rows decode together and answer once (a warm-up of the
    batch size).
    """

    ids: list[int]
    pixels: Any
    grids: list[Grid]
    max_tokens: int
    ignore_eos: bool = False
    copies: int = 1
    sampling: TokenSampling | None = None


@dataclass(frozen=True)
class Progress:
    """One reply: the next token (None where the model said it is done) and why it ends, if so."""

    token: int | None
    finish: Finish | None = None

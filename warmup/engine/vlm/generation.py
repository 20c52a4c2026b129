"""What the HTTP process asks of the ranks: plain data, images as handles or tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Generation:
    """Greedy tokens after `ids`.

    pixels: (patches, values) of all images in order, as a `shm` handle or a tensor; None without
    images. grids: patches of each image in time, height, width. copies: so many rows decode
    together and answer once (a warm-up of the batch size). max_tokens: at least 1.
    """

    ids: list[int]
    pixels: Any
    grids: list[tuple[int, int, int]]
    max_tokens: int
    ignore_eos: bool = False
    copies: int = 1


@dataclass(frozen=True)
class Progress:
    """One reply: the next token (None where the model said it is done) and why it ends, if so."""

    token: int | None
    finish: Finish | None = None

"""Multimodal rotary positions (Qwen2-VL report, section 2.1): time, height and width per token.

Text counts all three up together. A still image stands at the count it is met at, plus its row and
column; text goes on from the largest of them plus one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from warmup.engine.vlm.generation import Grid, get_num_tokens


def get_positions(
    ids: Sequence[int], image_token: int, grids: Sequence[Grid], merge: int
) -> tuple[torch.Tensor, int]:
    """(3, tokens) int64 positions, and what to add to a later token's index for its position.

    Raises ValueError if the placeholders in `ids` are not those of `grids`.
    """
    spans: list[torch.Tensor] = []
    place = position = 0
    for grid in grids:
        text = _find(ids, image_token, place) - place
        spans.append(torch.arange(text).expand(3, -1) + position)
        position += text
        place += text
        num_tokens = get_num_tokens(grid, merge)
        if any(token != image_token for token in ids[place : place + num_tokens]):
            raise ValueError(f"{num_tokens} image tokens expected at {place}")
        times, rows, columns = grid[0], grid[1] // merge, grid[2] // merge
        index = torch.cartesian_prod(*map(torch.arange, (times, rows, columns))).T
        spans.append(index + position)
        position += max(rows, columns)
        place += num_tokens
    if place > len(ids) or image_token in ids[place:]:
        raise ValueError("image tokens and images do not match")
    spans.append(torch.arange(len(ids) - place).expand(3, -1) + position)
    return torch.cat(spans, dim=1), position - place


def _find(ids: Sequence[int], token: int, start: int) -> int:
    for place in range(start, len(ids)):
        if ids[place] == token:
            return place
    raise ValueError("an image has no image tokens")


class Rotary(torch.nn.Module):
    """cos and sin of positions, the three sections already merged: once a step, not once a layer.

    rotary: transformers' module, for its frequencies (of any rope type) and their scaling.
    """

    def __init__(self, rotary: Any, sections: Sequence[int]) -> None:
        super().__init__()
        self.frequencies = torch.nn.Buffer(rotary.inv_freq.float(), persistent=False)
        self._scaling = float(rotary.attention_scaling)
        self._sections = list(sections)

    def forward(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """positions: (3, rows) → cos, sin: (rows, head dim), float32."""
        angles = positions[..., None].float() * self.frequencies
        parts = angles.split(self._sections, dim=-1)
        merged = torch.cat([part[i % 3] for i, part in enumerate(parts)], dim=-1)
        both = torch.cat((merged, merged), dim=-1)
        return both.cos() * self._scaling, both.sin() * self._scaling

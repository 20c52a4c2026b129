"""The next token of each row: the likeliest one, or one that is drawn.

Every rank draws for itself, from logits that all hold whole, with one number a token from a
generator that the request seeds: all draw the same, with no word between them. Probabilities are
added up in the vocabulary's order, so that two layouts whose logits differ in the last bits draw
the same tokens too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from warmup.engine.vlm.generation import TokenSampling


class Draw:
    """The draws of one answer. wanted: its temperature is above 0."""

    def __init__(self, wanted: TokenSampling) -> None:
        self.wanted = wanted
        # On the CPU, so that one seed means the same on every device.
        self._generator = torch.Generator().manual_seed(wanted.seed)

    def next_number(self) -> float:
        """Uniform in [0, 1)."""
        return float(torch.rand((), dtype=torch.float64, generator=self._generator))


def choose(logits: torch.Tensor, draws: Sequence[Draw | None]) -> list[int]:
    """logits: (rows, vocabulary). draws: of each row; None takes the likeliest token."""
    tokens: list[int] = logits.argmax(-1).tolist()
    rows = [row for row, draw in enumerate(draws) if draw is not None]
    if rows:
        drawn = _draw(logits[rows], [draw for draw in draws if draw is not None])
        for row, token in zip(rows, drawn, strict=True):
            tokens[row] = token
    return tokens


def _draw(logits: torch.Tensor, draws: Sequence[Draw]) -> list[int]:
    """The inverse of the distribution function, at one number a row."""

    def column(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=logits.device)[:, None]

    probabilities = get_probabilities(
        logits.double(),
        column([draw.wanted.temperature for draw in draws]),
        column([draw.wanted.top_k or logits.shape[-1] for draw in draws]),
        column([draw.wanted.top_p for draw in draws]),
    )
    sums = probabilities.cumsum(-1)
    # Below 1 by more than a rounding, so that some sum is above every number.
    numbers = column([draw.next_number() for draw in draws]).clamp(max=1 - 1e-12) * sums[:, -1:]
    tokens: list[int] = torch.searchsorted(sums, numbers, right=True)[:, 0].tolist()
    return tokens


def get_probabilities(
    logits: torch.Tensor, temperature: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor
) -> torch.Tensor:
    """(rows, vocabulary), 0 for what was filtered out; a row adds up to at most 1.

    First the top_k likeliest, then the fewest of those that hold top_p of what is left. The others
    are (rows, 1) each.
    """
    ordered, order = (logits / temperature).sort(dim=-1, descending=True, stable=True)
    places = torch.arange(logits.shape[-1], device=logits.device)
    ordered = ordered.masked_fill(places >= top_k, -torch.inf)
    shares = ordered.softmax(-1)
    before = shares.cumsum(-1) - shares
    shares = shares.masked_fill((before >= top_p) & (places > 0), 0.0)
    return torch.zeros_like(shares).scatter(-1, order, shares)

"""Tokens that are drawn: their distribution, their seed, and that ranks need no word about them."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from warmup.engine.vlm.generation import TokenSampling
from warmup.engine.vlm.sampling import Draw, choose

NUM_DRAWS = 4000
# Shares 0.5, 0.25, 0.15, 0.1 at temperature 1, in no order.
LOGITS = torch.tensor([0.15, 0.5, 0.1, 0.25]).log()


def draw_many(temperature: float = 1.0, **more: float) -> list[int]:
    """The first token of that many seeds, in one batch."""
    draws = [
        Draw(TokenSampling(temperature, seed, **more))  # type: ignore[arg-type]
        for seed in range(NUM_DRAWS)
    ]
    return choose(LOGITS.expand(NUM_DRAWS, -1), draws)


def draw_alone(seed: int) -> list[int]:
    """One answer's tokens."""
    draw = Draw(TokenSampling(1.0, seed))
    return [choose(LOGITS[None], [draw])[0] for _ in range(50)]


def get_shares(tokens: list[int]) -> list[float]:
    counts = Counter(tokens)
    return [counts[token] / len(tokens) for token in range(len(LOGITS))]


def test_tokens_come_as_often_as_they_are_likely() -> None:
    assert get_shares(draw_many()) == pytest.approx([0.15, 0.5, 0.1, 0.25], abs=0.03)


def test_a_temperature_sharpens_and_flattens() -> None:
    squared = [0.15**2, 0.5**2, 0.1**2, 0.25**2]
    expected = [share / sum(squared) for share in squared]
    assert get_shares(draw_many(temperature=0.5)) == pytest.approx(expected, abs=0.03)
    assert get_shares(draw_many(temperature=100.0)) == pytest.approx([0.25] * 4, abs=0.03)


def test_top_k_keeps_the_likeliest_and_their_shares() -> None:
    assert get_shares(draw_many(top_k=2)) == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=0.03)
    assert set(draw_many(top_k=9)) == {0, 1, 2, 3}, "more than there are is all"


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, {1}), (0.6, {1, 3}), (0.8, {0, 1, 3})])
def test_top_p_keeps_the_fewest_that_hold_it(top_p: float, kept: set[int]) -> None:
    assert set(draw_many(top_p=top_p)) == kept


def test_top_p_counts_what_top_k_left() -> None:
    """Of the two that are left one holds two thirds."""
    assert set(draw_many(top_k=2, top_p=0.6)) == {1}


@pytest.mark.parametrize("temperature", [1e-5, 1.0, 100.0])
def test_one_candidate_is_the_greedy_one(temperature: float) -> None:
    logits = torch.randn(64, 1000, generator=torch.Generator().manual_seed(1))
    draws = [Draw(TokenSampling(temperature, seed, top_k=1)) for seed in range(64)]
    assert choose(logits, draws) == choose(logits, [None] * 64) == logits.argmax(-1).tolist()


def test_a_seed_repeats_and_another_does_not() -> None:
    assert draw_alone(3) == draw_alone(3) != draw_alone(4)


def test_a_row_draws_the_same_whatever_it_is_batched_with() -> None:
    alone = draw_alone(7)
    cold, hot = Draw(TokenSampling(0.5, 1)), Draw(TokenSampling(2, 9))
    rows = [cold, None, Draw(TokenSampling(1.0, 7)), hot]
    batched = [choose(LOGITS.expand(4, -1), rows) for _ in range(50)]
    assert [tokens[2] for tokens in batched] == alone
    assert {tokens[1] for tokens in batched} == {1}


def test_logits_that_differ_in_their_last_bits_draw_the_same() -> None:
    """As those of two tensor parallel sizes do, in a vocabulary of equals, where ranks swap."""
    exact = torch.randn(1, 5000, generator=torch.Generator().manual_seed(1)) * 1e-3
    other = exact + torch.randn(1, 5000, generator=torch.Generator().manual_seed(2)) * 1e-8
    one, two = ([Draw(TokenSampling(1.0, seed)) for seed in range(200)] for _ in range(2))
    pairs = zip(choose(exact.expand(200, -1), one), choose(other.expand(200, -1), two), strict=True)
    assert sum(mine == theirs for mine, theirs in pairs) >= 199


def test_half_precision_and_impossible_tokens() -> None:
    logits = torch.full((1, 100), -torch.inf, dtype=torch.bfloat16)
    logits[0, [3, 50]] = 1.0
    draws = [Draw(TokenSampling(0.7, seed)) for seed in range(100)]
    assert set(choose(logits.expand(100, -1), draws)) == {3, 50}

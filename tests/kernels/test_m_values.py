from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.models import SHAPES
from tests.kernels.test_selection import any_shape
from warmup.kernels.m_values import choose_kernels, choose_ms, get_boundaries, get_sweep
from warmup.kernels.selection import Selector
from warmup.kernels.shapes import Ask, Shape


def sweep(shape: Shape, max_m: int, num_sms: int = 132) -> set[object]:
    """The kernels that the whole sweep selects."""
    selector = Selector(shape, num_sms)
    return {selector.select(m) for m in get_sweep(shape, max_m)}


@settings(max_examples=25, deadline=None)
@given(any_shape, st.integers(128, 3000), st.sampled_from([132, 78]))
def test_the_chosen_ms_cover_every_kernel_of_the_sweep(
    shape: Shape, max_m: int, num_sms: int
) -> None:
    chosen = choose_ms(shape, max_m, num_sms)
    assert set(chosen.values()) == sweep(shape, max_m, num_sms)
    assert len(set(chosen.values())) == len(chosen)
    assert list(chosen) == sorted(chosen)


@pytest.mark.parametrize("shape", SHAPES[:1] + SHAPES[3:4], ids=str)
def test_so_they_do_up_to_a_real_batch(shape: Shape) -> None:
    chosen = choose_ms(shape, 16384)
    assert set(chosen.values()) == sweep(shape, 16384)
    assert len(chosen) < 30


@settings(max_examples=40, deadline=None)
@given(any_shape, st.integers(1, 2000))
def test_the_choice_is_the_same_between_two_boundaries(shape: Shape, max_m: int) -> None:
    selector = Selector(shape)
    before = 0
    for m in get_boundaries(shape, max_m):
        step = 128 if shape.kind == "CONTIG" else 1
        assert len({selector.select(each) for each in range(before + step, m + 1, step)}) == 1
        before = m


def test_contiguous_rows_come_in_whole_blocks() -> None:
    assert get_boundaries(SHAPES[3], 300) == [128, 256]
    assert get_sweep(SHAPES[3], 300) == [128, 256]
    assert get_boundaries(SHAPES[3], 5) == [128]


def test_shapes_share_kernels_where_n_and_k_are_arguments() -> None:
    shapes = [Shape("NORMAL", 4608, 7168), Shape("NORMAL", 7168, 7168)]
    apart = sum(len(choose_ms(shape, 4096)) for shape in shapes)
    asks = {Ask(shape): 4096 for shape in shapes}
    assert len(choose_kernels(asks, 132, {})) < apart
    assert len(choose_kernels(asks, 132, {"NORMAL": "nk"})) == apart


def test_half_of_the_sms_is_other_kernels_for_small_batches() -> None:
    whole, halved = Ask(SHAPES[1]), Ask(SHAPES[1], True)
    assert (halved.get_num_sms(132), halved.get_max_m(16384)) == (72, 1024)
    kernels = choose_kernels({whole: 16384, halved: 1024}, 132, {})
    assert {kernel.num_sms for kernel in kernels} == {132, 72}
    assert max(m for ask, m in kernels.values() if ask.is_halved) <= 1024

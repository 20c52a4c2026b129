from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.models import SHAPES
from warmup.kernels.selection import Selector
from warmup.kernels.shapes import Kind, Shape

KINDS: list[Kind] = ["NORMAL", "CONTIG", "MASKED"]
any_shape = st.builds(
    Shape,
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 256).map(lambda i: 64 * i),
    k=st.integers(1, 128).map(lambda i: 128 * i),
    groups=st.integers(1, 257),
).map(lambda s: s if s.kind != "NORMAL" else Shape("NORMAL", s.n, s.k))


def choose_slowly(selector: Selector, m: int) -> tuple[int, ...]:
    """The heuristic as upstream writes it: look at every tiling, keep the first of the best."""
    tilings = list(selector.iter_tilings((64, 128, 256)))
    if selector.shape.kind == "NORMAL" and m <= 32:
        tilings = list(selector.iter_tilings((64, 128, *((16, 32) if m <= 16 else (32,)), 256)))
    best = tilings[0]
    for tiling in tilings[1:]:
        if selector.get_cycles(m, tiling) < selector.get_cycles(m, best):
            best = tiling
    return best.block_m, best.block_n, best.stages, best.cluster_m, best.cluster_n


@settings(max_examples=150, deadline=None)
@given(any_shape, st.integers(1, 16384), st.sampled_from([132, 114, 78]))
def test_the_shortcuts_take_what_looking_at_every_tiling_takes(
    shape: Shape, m: int, num_sms: int
) -> None:
    selector = Selector(shape, num_sms)
    kernel = selector.select(m)
    chosen = choose_slowly(selector, m)
    assert (kernel.block_m, kernel.block_n, kernel.stages) == chosen[:3]
    assert (kernel.cluster, kernel.is_multicast_on_a) == (chosen[3] * chosen[4], chosen[4] > 1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tilings_are_legal(shape: Shape) -> None:
    for tiling in Selector(shape).iter_tilings((64, 128, 256)):
        assert tiling.block_n % 16 == 0 and tiling.block_n <= 192 and tiling.block_n != 176
        assert tiling.block_m in {"CONTIG": (128,), "MASKED": (64, 128)}.get(
            shape.kind, (64, 128, 256)
        )
        assert not (tiling.block_m > 128 and tiling.block_n > 128)
        assert 3 <= tiling.stages <= 16


def test_a_single_wave_has_no_multicast() -> None:
    for m in range(64, 16385, 64):
        kernel = Selector(Shape("NORMAL", 512, 7168)).select(m)
        if -(-m // kernel.block_m) * -(-512 // kernel.block_n) <= 132:
            assert kernel.cluster == 1


def test_few_rows_take_small_blocks() -> None:
    selector = Selector(Shape("NORMAL", 2112, 7168))
    assert [selector.select(m).block_m for m in (1, 16, 17, 32, 33)] == [16, 16, 32, 32, 64]


def test_what_a_kernel_is_compiled_for() -> None:
    """N and K are arguments of the plain product, and part of the experts' kernels."""
    assert Selector(SHAPES[0]).select(64).n == 0
    assert Selector(SHAPES[0], compiled_dims="nk").select(64).n == 2112
    assert Selector(SHAPES[3]).select(128).k == 7168


@pytest.mark.parametrize(
    ("version", "has_wide"),
    [("0.2.5", True), ("0.2.3.post2", True), ("", True), ("0.1.5.post1", False), ("2.5.0", False)],
)
def test_newer_versions_compile_n_into_wide_tilings_of_the_plain_product(
    version: str, has_wide: bool
) -> None:
    """Recorded on a null device, for sgl-deep-gemm 0.2.3.post2 and 0.2.5 at 132 and 72 SMs."""
    seen = set()
    for shape in (Shape("NORMAL", 2112, 7168), Shape("NORMAL", 7168, 2048)):
        selector = Selector(shape, version=version)
        for m in range(64, 16385, 64):
            kernel = selector.select(m)
            is_wide = (kernel.block_m, kernel.cluster) == (128, 1) and kernel.block_n > 128
            assert kernel.n == (shape.n if is_wide and has_wide else 0) and kernel.k == 0
            seen.add(is_wide)
    assert seen == {True, False}
    assert Selector(SHAPES[3], version=version).select(128).n == SHAPES[3].n

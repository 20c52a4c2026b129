"""Which numbers of tokens to compile for: one for each kernel that DeepGEMM can select.

A sweep calls 16,384 of them for every shape; a few kernels come out. The choice among kernels
depends on M through ⌈M / block⌉ alone, and blocks have 16 or 32 rows (few tokens only), or a
multiple of 64: so it can change only past 16, past 32 and past multiples of 64 (128 in the
contiguous layout). One M of each stretch covers every kernel; of those with the same kernel the
smallest will do.
"""

from __future__ import annotations

from collections.abc import Mapping

from warmup.kernels.selection import H200_SMS, Kernel, Selector
from warmup.kernels.shapes import BLOCK, Ask, Shape


def get_boundaries(shape: Shape, max_m: int) -> list[int]:
    """The last M of every stretch up to max_m; the contiguous layout's rows come in blocks."""
    if shape.kind == "TRANSPOSE":
        return [1]
    if shape.kind == "CONTIG":
        return list(range(BLOCK, max(max_m, BLOCK) + 1, BLOCK))
    few = [m for m in (16, 32) if m <= max_m and shape.kind == "NORMAL"]
    boundaries = [*few, *range(64, max_m + 1, 64)]
    return boundaries if boundaries and boundaries[-1] == max_m else [*boundaries, max_m]


def get_sweep(shape: Shape, max_m: int) -> list[int]:
    """Every M that the engine's own warm-up calls (sglang 0.5.23, compile_utils.py)."""
    if shape.kind == "TRANSPOSE":
        return [1]
    step = BLOCK if shape.kind == "CONTIG" else 1
    return list(range(step, max(max_m, step) + 1, step))


def list_ms(shape: Shape, max_m: int, *, full: bool) -> list[int]:
    """full: the whole sweep; else one of each stretch."""
    return get_sweep(shape, max_m) if full else get_boundaries(shape, max_m)


def choose_ms(
    shape: Shape,
    max_m: int,
    num_sms: int = H200_SMS,
    compiled_dims: str | None = None,
    version: str = "",
    *,
    full: bool = False,
) -> dict[int, Kernel]:
    """The first M of each kernel, ascending. version: deep_gemm's. full: look at every M."""
    if shape.kind == "TRANSPOSE":
        return {1: Kernel("TRANSPOSE", 0, shape.k, 1, 0, 0, 0, 1, False, 0)}
    selector = Selector(shape, num_sms, compiled_dims, version)
    chosen: dict[Kernel, int] = {}
    for m in list_ms(shape, max_m, full=full):
        chosen.setdefault(selector.select(m), m)
    return {m: kernel for kernel, m in chosen.items()}


def choose_kernels(
    asks: Mapping[Ask, int],
    num_sms: int,
    compiled_dims: Mapping[str, str | None],
    version: str = "",
    *,
    full: bool = False,
) -> dict[Kernel, tuple[Ask, int]]:
    """Every kernel that these select on a device of num_sms SMs, with the first call that makes it.

    asks: each with its largest M. Shapes whose N and K are not part of the kernel share some.
    compiled_dims: kind → dimensions that are, where that is not as usual.
    """
    kernels: dict[Kernel, tuple[Ask, int]] = {}
    for ask, max_m in asks.items():
        sms, dims = ask.get_num_sms(num_sms), compiled_dims.get(ask.shape.kind)
        for m, kernel in choose_ms(ask.shape, max_m, sms, dims, version, full=full).items():
            kernels.setdefault(kernel, (ask, m))
    return kernels


def describe_ms(asks: Mapping[Ask, int], num_sms: int, full: bool) -> tuple[list[str], int]:
    """A line for each with the Ms to compile for, and how many kernels they make. full: every M."""
    lines: list[str] = []
    kernels: set[Kernel] = set()
    for ask, max_m in asks.items():
        chosen = choose_ms(ask.shape, max_m, ask.get_num_sms(num_sms))
        kernels.update(chosen.values())
        sweep = get_sweep(ask.shape, max_m) if full else []
        told = "M " + " ".join(str(m) for m in chosen)
        lines.append(
            f"{ask}: {len(sweep)} Ms, {sweep[0]} to {sweep[-1]}" if full else f"{ask}: {told}"
        )
    return lines, len(kernels)

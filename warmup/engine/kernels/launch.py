"""How a Triton kernel of ours is launched, and how it is compiled where there is no GPU.

Every wrapper goes through `launch`. Under `compile_only`, the same wrappers, called with tensors
of the meta device, compile for a target instead of running. So an ahead-of-time cache holds
exactly what the engine will look up: the specialisation cannot be described twice, and drift.

A kernel's sizes are constexprs and its row counts live in the grid alone: one compiled kernel per
model dimension and dtype, whatever the batch. Triton (3.9.0, runtime/jit.py) would otherwise
compile again for integers that are 1 or divisible by 16.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver


@dataclass
class CompiledKernels:
    """What `compile_only` compiled: kernel name → the hashes of its cache entries."""

    hashes: dict[str, set[str]] = field(default_factory=dict)

    def add(self, kernel: Any) -> None:
        self.hashes.setdefault(kernel.metadata.name, set()).add(kernel.metadata.hash)


_compiling: list[CompiledKernels] = []


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **constants: Any) -> None:
    """Run `kernel` over `grid`; nothing to do where the grid is empty."""
    if _compiling:
        _compiling[-1].add(kernel.warmup(*args, grid=grid, enable_fp_fusion=True, **constants))
    elif 0 not in grid:
        kernel[grid](*args, enable_fp_fusion=True, **constants)


class _TargetDriver:
    """The part of a Triton driver that compiling asks for; it can launch nothing."""

    def __init__(self, target: GPUTarget) -> None:
        self._target = target

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> tuple[str, Any]:
        # Keys the in-process cache of compiled kernels: must not meet a real device's number.
        return ("target", self._target)

    def get_current_stream(self, device: Any) -> int:
        return 0


@contextlib.contextmanager
def compile_only(target: GPUTarget) -> Iterator[CompiledKernels]:
    """Inside, `launch` compiles for `target` into Triton's cache folder and runs nothing.

    Not for several threads at once: Triton has one active driver a process.
    """
    compiled = CompiledKernels()
    before = driver._active
    driver.set_active(_TargetDriver(target))
    _compiling.append(compiled)
    try:
        yield compiled
    finally:
        _compiling.pop()
        driver._active = before


def get_block(width: int) -> int:
    """The power of two that holds `width`: Triton's blocks have no other sizes."""
    return int(triton.next_power_of_2(width))


def get_num_warps(block: int) -> int:
    """256 elements a warp, 1 to 16 warps: each thread of a row reduction then has eight."""
    return min(max(block // 256, 1), 16)

"""Kernels of the CuTe DSL on the null device: compiled, and not launched.

Its library has a CUDA runtime of its own inside, which cannot be led to the null device. It asks
for that only when a kernel is first launched: what `cute.compile` answers is compiled by then. So
that compiles as ever, and a call of what it answers does nothing (nvidia-cutlass-dsl 4.8.0).
"""

import sys
from typing import Any


class CompiledOnly:
    """What `cute.compile` answered, less its launch."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *_: Any, **__: Any) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


def install() -> None:
    """Its package is only half imported as yet: the module itself is whole."""
    # Options make more of that kind: `cute.compile[...](...)`.
    kind: Any = type(sys.modules["cutlass.cute"].compile)
    compile_kernel = kind.__call__

    def compile_only(self: Any, *args: Any, **kwargs: Any) -> CompiledOnly:
        return CompiledOnly(compile_kernel(self, *args, **kwargs))

    kind.__call__ = compile_only

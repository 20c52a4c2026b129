"""Find a JIT cache family by name; each is imported only when asked for."""

from __future__ import annotations

import importlib
from functools import cache

from warmup.caches.family import Family
from warmup.words.errors import UsageError

FAMILY_NAMES = (
    "deep_gemm",
    "triton",
    "inductor",
    "flashinfer",
    "tilelang",
    "cute_dsl",
    "quack",
    "tvm_ffi",
    "torch_extensions",
    "vllm",
    "cuda_driver",
)


@cache
def get_family(name: str) -> Family:
    """The family called `name`. Raises UsageError for a word that names none."""
    if name not in FAMILY_NAMES:
        raise UsageError(
            f"no JIT cache family is called {name!r}", hint="one of " + ", ".join(FAMILY_NAMES)
        )
    family: Family = importlib.import_module(f"warmup.caches.families.{name}").FAMILY
    return family

"""Which environment variables can decide what a JIT compiler makes, and of which families.

Prefixes were collected from the packages that warmup.jit's families cite. Left out: where a cache
lies (a family's root is checked instead), what only prints, addresses and ports, which differ on
every run and caused false misses elsewhere (dynamo#10695), and secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from warmup.words.locations import is_location
from warmup.words.secrets import is_secret_name

_BUILDS = ("flashinfer", "tvm_ffi", "torch_extensions")
_TORCH = ("inductor", "vllm")
_ENGINE = ("deep_gemm", "triton", "inductor", "tilelang", "cute_dsl", "tvm_ffi")

# The first prefix that fits decides.
_PREFIXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("DG_", ("deep_gemm",)),
    ("DJ_", ("deep_gemm",)),
    ("SGLANG_", _ENGINE),
    ("SGL_", _ENGINE),
    ("TRITON_", ("triton", *_TORCH)),
    ("TORCHINDUCTOR_", _TORCH),
    ("TORCHDYNAMO_", _TORCH),
    ("AOTINDUCTOR_", _TORCH),
    ("TORCH_CUDA_ARCH_LIST", _BUILDS),
    ("TORCH_", (*_TORCH, "torch_extensions")),
    ("VLLM_", ("vllm", "deep_gemm", "triton", "inductor")),
    ("FLASHINFER_", ("flashinfer",)),
    ("TILELANG_", ("tilelang",)),
    ("CUTE_DSL_", ("cute_dsl", "quack")),
    ("CUTE_", ("cute_dsl", "quack")),
    ("QUACK_", ("quack",)),
    ("TVM_", ("tvm_ffi", "tilelang")),
    ("NVCC_", ("deep_gemm", "tilelang", *_BUILDS)),
    ("CUDA_CACHE_", ("cuda_driver",)),
    ("CUDA_FORCE_", ("cuda_driver",)),
    ("CUDA_DISABLE_", ("cuda_driver",)),
    ("CUDAHOSTCXX", ("deep_gemm", *_BUILDS)),
)
# Compilers of host code. Exact, because the prefixes would match anything.
_EXACT = dict.fromkeys(("CC", "CXX", "CFLAGS", "CXXFLAGS"), ("inductor", "triton", *_BUILDS))

_NOISE = re.compile(
    r"_(PORT|PORTS|HOST|IP|ADDR|ADDRESS|URL|URI|ENDPOINT|TIMEOUT|TIMEOUT_S|LOGS?|LOG_LEVEL|VERBOSE)$"
    r"|_(LOGGING|LOG|PRINT|NCCL|TRACE)_|^TORCH_(LOGS|SHOW|DISTRIBUTED_DEBUG|CPP_LOG)"
    r"|^DG_JIT_(DEBUG|DUMP)|^(VLLM|SGLANG)_(USAGE|NO_USAGE|DO_NOT_TRACK)"
)


def find_families(name: str) -> tuple[str, ...] | None:
    """The JIT cache families that the variable can invalidate; None if it is irrelevant."""
    if is_location(name) or is_secret_name(name) or _NOISE.search(name) is not None:
        return None
    if name in _EXACT:
        return _EXACT[name]
    for prefix, families in _PREFIXES:
        if name.startswith(prefix):
            return families
    return None


def get_relevant(env: Mapping[str, str]) -> dict[str, str]:
    """The variables of `env` that `find_families` knows, sorted by name."""
    return {name: env[name] for name in sorted(env) if find_families(name) is not None}

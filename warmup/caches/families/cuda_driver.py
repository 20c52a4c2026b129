"""The CUDA driver's own cache of code that it compiled from PTX.

CUDA programming guide 13, "CUDA environment variables": `CUDA_CACHE_PATH`, else
`~/.nv/ComputeCache`; at most `CUDA_CACHE_MAXSIZE` bytes (1 GiB), oldest dropped; off with
`CUDA_CACHE_DISABLE=1`. One file an entry in hashed folders beside an `index` that every use
rewrites. Valid until the driver is upgraded. sglang 0.5.23 moves it to `$SGLANG_CACHE_DIR/nv`.
"""

from __future__ import annotations

from pathlib import Path

from warmup.caches.family import (
    Env,
    Family,
    find_file_entry,
    get_places,
    get_sglang_cache,
    never,
)


def get_roots(env: Env) -> tuple[Path, ...]:
    return get_places(env, "CUDA_CACHE_PATH", "~/.nv/ComputeCache", get_sglang_cache(env) / "nv")


FAMILY = Family(
    name="cuda_driver",
    variables=("CUDA_CACHE_PATH",),
    get_roots=get_roots,
    get_variables=lambda root: {"CUDA_CACHE_PATH": str(root)},
    find_entry=find_file_entry,
    ingredients=("driver", "gpu_name", "compute_capability"),
    env_names=("CUDA_CACHE_*", "CUDA_FORCE_*", "CUDA_DISABLE_*"),
    is_relocatable=True,
    repair="none: any driver upgrade empties it",
    is_atomic=True,
    is_temporary=never,
)

"""TileLang: one folder per kernel, named by a sha256.

tilelang 0.1.15, env.py and cache/kernel_cache.py: `TILELANG_CACHE_DIR`, else `~/.tilelang/cache`;
`<version>/<platform>/kernels/<sha256>/` with sources, `kernel_lib.so`, `params.json` (older
versions: `params.pkl`, a cloudpickle, so loading it runs code) and `manifest.json`. Key: version,
machine, TIR, target, flags, arguments; **no CUDA version**, so the version vector must carry it.
Staged in `.staging/`, fsynced, renamed as a folder. sglang 0.5.23 moves it to
`$SGLANG_CACHE_DIR/tilelang` (srt/environ.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from warmup.caches.family import (
    HOST_CODE,
    NVCC,
    Env,
    Family,
    find_folder_entry,
    get_places,
    get_sglang_cache,
)
from warmup.words.files import read_head

KERNEL = rb"__global__ void (?:__launch_bounds__\([^)]*\) )?([A-Za-z_]\w*)\("


def get_roots(env: Env) -> tuple[Path, ...]:
    return get_places(
        env, "TILELANG_CACHE_DIR", "~/.tilelang/cache", get_sglang_cache(env) / "tilelang"
    )


def get_kernel(root: Path, entry: str, names: Sequence[str]) -> str:
    for name in ("device_kernel.cu", "kernel.cu"):
        found = re.search(KERNEL, read_head(root / entry / name)) if name in names else None
        if found is not None:
            return found[1].decode("ascii")
    return entry.rpartition("/")[2]


FAMILY = Family(
    name="tilelang",
    variables=("TILELANG_CACHE_DIR",),
    get_roots=get_roots,
    get_variables=lambda root: {"TILELANG_CACHE_DIR": str(root)},
    find_entry=find_folder_entry,
    get_kernel=get_kernel,
    ingredients=(*HOST_CODE, *NVCC, "tilelang", "apache-tvm-ffi"),
    env_names=("TILELANG_*", "TVM_*", "NVCC_*"),
    is_relocatable=True,
    repair="none needed: a copy is used",
    is_atomic=True,
    log_variables={"TILELANG_PRINT_ON_COMPILATION": "1"},
    compile_line=rb"TileLang begins to compile kernel `(?P<kernel>[^`]*)`.*",
    # vLLM's monitor, in releases after 0.33.0 (vllm#46718); of loads from disk nothing is known.
    monitor_line=rb"TileLang JIT compilation during inference: (?P<kernel>[\w<>]+).*",
)

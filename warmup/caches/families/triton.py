"""Triton: one folder per compiled kernel or launcher.

triton 3.9.0, runtime/cache.py and knobs.py: `TRITON_CACHE_DIR`, else `$TRITON_HOME/.triton/cache`,
else `~/.triton/cache`. Key: `triton_key` (contents of the package), source hash, backend hash
(ptxas version, arch), options, environment; the arch is the capability alone, so H100 and H200
share. `__grp__*.json` lists its children by absolute path: copied elsewhere it serves the *old*
files while the original stands and misses once it is gone; torch's bundler rewrites them, and so
do we. An autotuner's result is an entry of its own (`family.find_tuning`). Each file is renamed
into place; no lock, no checksum (a stale cache gave garbage: vllm#41871). sglang 0.5.23 and
sglang-diffusion redirect it (srt/environ.py, multimodal_gen/runtime/managers/gpu_worker.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from warmup.caches.family import (
    HOST_CODE,
    HOST_COMPILERS,
    Env,
    Family,
    find_folder_entry,
    find_tuning,
    get_places,
    get_sglang_cache,
    unique,
)
from warmup.words.locations import get_cache_home

GROUP_PREFIX = "__grp__"


def get_diffusion_cache(env: Env) -> Path:
    """sglang-diffusion's compile cache (sglang 0.5.23, multimodal_gen/envs.py)."""
    default = get_cache_home(env) / "sgl_diffusion"
    return get_places(env, "SGLANG_DIFFUSION_CACHE_ROOT", default)[0] / "torch_compile_cache"


def get_roots(env: Env) -> tuple[Path, ...]:
    home = get_places(env, "TRITON_HOME", "~")[0]
    defaults = (home / ".triton" / "cache", get_sglang_cache(env) / "triton")
    roots = get_places(env, "TRITON_CACHE_DIR", *defaults)
    # sglang-diffusion moves it there even when the variable points under the temporary folder.
    return unique([*roots, get_diffusion_cache(env) / "triton"])


def get_kernel(root: Path, entry: str, names: Sequence[str]) -> str:
    for name in names:
        if name.startswith(GROUP_PREFIX):
            return name.removeprefix(GROUP_PREFIX).removesuffix(".json")
    for suffix in (".cubin", ".so", ".json"):
        for name in names:
            if name.endswith(suffix):
                return find_tuning(name) or name.partition(".")[0]
    return entry.rpartition("/")[2]


FAMILY = Family(
    name="triton",
    variables=("TRITON_CACHE_DIR", "TRITON_HOME"),
    get_roots=get_roots,
    get_variables=lambda root: {"TRITON_CACHE_DIR": str(root)},
    find_entry=find_folder_entry,
    get_kernel=get_kernel,
    ingredients=(*HOST_CODE, "triton"),
    env_names=("TRITON_*", *HOST_COMPILERS),
    is_relocatable=False,
    repair="rewrite `child_paths` of every __grp__*.json to the folder that holds it",
    is_atomic=True,
    # vLLM's monitor (0.20 on; utils/jit_monitor.py) hangs on `jit_post_compile_hook`, which Triton
    # (3.9.0, runtime/jit.py, _do_compile) calls behind a load from disk as well.
    monitor_line=rb"Triton kernel JIT compilation during inference: (?P<kernel>[\w<>]+).*",
)

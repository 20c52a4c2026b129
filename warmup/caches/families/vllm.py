"""vLLM's torch.compile cache: graphs per configuration and rank, with Inductor and Triton inside.

vllm 0.33.0, compilation/backends.py and compiler_interface.py:
`$VLLM_CACHE_ROOT/torch_compile_cache/<hash>/rank_<r>_<dp>/<prefix>/` (default root
`~/.cache/vllm`, `$XDG_CACHE_HOME` honoured), with `inductor_cache/` and `triton_cache/` below, and
`torch_aot_compile/<hash>/`. Hash: environment, configuration, traced code (absolute paths
included), compiler; false misses from HOME, ports and Ray variables (dynamo#10695), a false *hit*
from an unkeyed speculative count (vllm#53366).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from warmup.caches.families import inductor
from warmup.caches.families.triton import get_kernel as get_triton_kernel
from warmup.caches.family import (
    HOST_CODE,
    Env,
    Family,
    find_folder_entry,
    get_vllm_cache,
)

INNER = r"^(?P<base>(?:.*/)?(?P<kind>inductor_cache|triton_cache))/(?P<tail>.+)$"


def find_entry(path: str) -> str | None:
    found = re.match(INNER, path)
    if found is None:
        return find_folder_entry(path)
    inner = find_folder_entry if found["kind"] == "triton_cache" else inductor.find_entry
    entry = inner(found["tail"])
    return None if entry is None else f"{found['base']}/{entry}"


def get_kernel(root: Path, entry: str, names: Sequence[str]) -> str:
    found = re.match(INNER, entry)
    if found is None:
        return entry
    if found["kind"] == "triton_cache":
        return get_triton_kernel(root, entry, names)
    return inductor.get_kernel(root / found["base"], found["tail"], names)


def get_roots(env: Env) -> tuple[Path, ...]:
    return (get_vllm_cache(env) / "torch_compile_cache",)


FAMILY = Family(
    name="vllm",
    variables=("VLLM_CACHE_ROOT", "XDG_CACHE_HOME"),
    get_roots=get_roots,
    get_variables=lambda root: {"VLLM_CACHE_ROOT": str(root)},
    find_entry=find_entry,
    get_kernel=get_kernel,
    ingredients=(*HOST_CODE, "torch", "torch_cuda", "torch_git", "triton", "gpu_name", "sm_count"),
    env_names=(
        "VLLM_*",
        "TORCH_*",
        "TORCHINDUCTOR_*",
        "TORCHDYNAMO_*",
        "AOTINDUCTOR_*",
        "TRITON_*",
    ),
    is_relocatable=False,
    repair="recompile: the code hash holds absolute paths",
    is_atomic=False,
    # compilation/backends.py, 0.33.0: "Compiling a graph for %s takes %.2f s".
    compile_line=rb"Compiling a graph for .* takes .*",
)

"""TorchInductor: graphs, their kernels, and a Triton folder of its own.

torch 2.13.0, _inductor/runtime/cache_dir_utils.py: `TORCHINDUCTOR_CACHE_DIR`, else
`<tempdir>/torchinductor_<user>`: gone with the container. `fxgraph/` and `aotautograd/` hold
pickles (loading runs code); `triton/<device>/` a Triton cache while `TRITON_CACHE_DIR` is unset;
two-character folders hold sources, objects and autotuners' results (`*.best_config`,
`family.find_tuning`), one file an entry. Key: graph, input metadata,
torch_key (source contents), device *name* (H100 is not H200; a 3.8 GB tarball gave no hit:
torch#144859), CUDA, triton_key, config. File locks under `locks/`; writes are atomic.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from warmup.caches.families.triton import get_diffusion_cache
from warmup.caches.families.triton import get_kernel as get_triton_kernel
from warmup.caches.family import (
    HOST_CODE,
    HOST_COMPILERS,
    VOLATILE_NAMES,
    Env,
    Family,
    find_tuning,
    get_places,
    get_sglang_cache,
    get_temp_dir,
    get_user,
    is_temporary_path,
    unique,
)
from warmup.words.files import read_head

# Sources name the kernels that they define or call; a C++ one is just `kernel` in its own file.
KERNEL = rb"\b((?:cpp|triton_[a-z]+)_fused_\w+)|\bdef +(triton_\w+)\("
ENTRY_DEPTH = {"triton": 3, "fxgraph": 3, "aotautograd": 2}


def get_roots(env: Env) -> tuple[Path, ...]:
    user = re.sub(r'[\\/:*?"<>|]', "_", get_user(env))
    defaults = (get_temp_dir(env) / f"torchinductor_{user}", get_sglang_cache(env) / "inductor")
    roots = get_places(env, "TORCHINDUCTOR_CACHE_DIR", *defaults)
    return unique([*roots, get_diffusion_cache(env) / "inductor"])


def find_entry(path: str) -> str | None:
    parts = path.split("/")
    if parts[0] == "locks" or parts[-1] in VOLATILE_NAMES or parts[-1].endswith(".lock"):
        return None
    if is_temporary_path(path):
        return None
    depth = ENTRY_DEPTH.get(parts[0], len(parts))
    return "/".join(parts[: min(depth, len(parts))])


def get_kernel(root: Path, entry: str, names: Sequence[str]) -> str:
    if entry.startswith("triton/"):
        return get_triton_kernel(root, entry, names)
    if entry.endswith((".py", ".cpp")):
        found = re.search(KERNEL, read_head(root / entry))
        if found is not None:
            return (found[1] or found[2]).decode("ascii")
    return find_tuning(entry) or entry


FAMILY = Family(
    name="inductor",
    variables=("TORCHINDUCTOR_CACHE_DIR", "TMPDIR"),
    get_roots=get_roots,
    get_variables=lambda root: {"TORCHINDUCTOR_CACHE_DIR": str(root)},
    find_entry=find_entry,
    get_kernel=get_kernel,
    ingredients=(*HOST_CODE, "torch", "torch_cuda", "torch_git", "triton", "gpu_name", "sm_count"),
    env_names=(
        "TORCH_*",
        "TORCHINDUCTOR_*",
        "TORCHDYNAMO_*",
        "AOTINDUCTOR_*",
        "TRITON_*",
        *HOST_COMPILERS,
    ),
    is_relocatable=False,
    repair="recompile on the device that will use it; its Triton groups can be rewritten",
    is_atomic=True,
)

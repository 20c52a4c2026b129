"""AITER: HIP modules that ROCm's kernel library builds when they are first called.

From sources alone, never run here: amd-aiter 0.1.7.post2.dev18 and ROCm/aiter 0243447,
aiter/jit/core.py. `AITER_JIT_DIR`, else the installed package's own `jit` folder where that can be
written (**which no variable tells, so it is not watched**), else `~/.aiter/jit`. There
`<module>.so`, which is what counts: it is loaded if it is there, whatever it was made of (newer
releases look whether the GPU's architecture is in it); `build/<module>/` with ninja's files; and
`build/lock_<module>`, a *file that exists* as PyTorch's extensions have it: a killed builder leaves
it, and the next one waits for ever in the first of the two, until it is stale in the second. 16
modules took 633 s, and a watchdog killed the first (sglang#34586).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from warmup.caches.family import (
    HOST_CODE,
    HOST_COMPILERS,
    VOLATILE_NAMES,
    Env,
    Family,
    get_places,
    is_temporary_path,
)


def get_roots(env: Env) -> tuple[Path, ...]:
    return get_places(env, "AITER_JIT_DIR", "~/.aiter/jit")


def find_entry(path: str) -> str | None:
    parts = path.split("/")
    if parts[-1] in VOLATILE_NAMES or is_temporary_path(path):
        return None
    if parts[0] == "build":
        return "/".join(parts[:2]) if len(parts) > 2 else None
    return path if len(parts) == 1 and path.endswith(".so") else None


def get_kernel(root: Path, entry: str, names: Sequence[str]) -> str:
    return entry.removeprefix("build/").removesuffix(".so")


FAMILY = Family(
    name="aiter",
    variables=("AITER_JIT_DIR",),
    get_roots=get_roots,
    get_variables=lambda root: {"AITER_JIT_DIR": str(root)},
    find_entry=find_entry,
    get_kernel=get_kernel,
    ingredients=(*HOST_CODE, "torch", "amd-aiter", "gpu_name"),
    env_names=("AITER_*", "GPU_ARCHS", "CK_DIR", "ENABLE_CK", *HOST_COMPILERS),
    is_relocatable=True,
    repair="none needed on one architecture; remove a `build/lock_*` that no process holds",
    is_atomic=False,
    compile_line=rb"start build \[(?P<kernel>[^\]\s]+)\] under .*",
)

"""TVM-FFI: inline C++ and CUDA modules, one build folder each; sglang's JIT kernels with them.

apache-tvm-ffi 0.1.15.post2, cpp/extension.py: `TVM_FFI_CACHE_DIR`, else `~/.cache/tvm-ffi`;
`<name>_<hash of sources and flags>/` with `build.ninja`, objects, `<name>.so` and `lock`; ninja
decides freshness, so restored mtimes rebuild. sglang 0.5.23 (kernels/jit/utils/compile/cache.py)
builds its own in `SGLANG_JIT_CACHE_DIR`, else `~/.cache/sglang/jit`, which sglang#35621 moves below
`$SGLANG_CACHE_DIR`: `<target>/<module>/build-<key>/deps-<key>/`, content-addressed, renamed whole
from `.staging-*` (before sglang#34274 it was keyed by path and mtime: 3 min a launch,
sglang#27605). Under a cache root both share one folder, where their names do not meet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from warmup.caches.family import (
    HOST_CODE,
    HOST_COMPILERS,
    NVCC,
    VOLATILE_NAMES,
    Env,
    Family,
    get_places,
    get_sglang_cache,
    is_temporary_path,
    unique,
)

SGLANG_ENTRY = r"^((?:.*/)?([^/]+)/build-[^/]+/deps-[^/]+)/"


def get_roots(env: Env) -> tuple[Path, ...]:
    sglang = ("~/.cache/sglang/jit", get_sglang_cache(env) / "jit")
    return unique(
        [
            *get_places(env, "TVM_FFI_CACHE_DIR", "~/.cache/tvm-ffi"),
            *get_places(env, "SGLANG_JIT_CACHE_DIR", *sglang),
        ]
    )


def find_entry(path: str) -> str | None:
    if path.rpartition("/")[2] in VOLATILE_NAMES or is_temporary_path(path):
        return None
    found = re.match(SGLANG_ENTRY, path)
    if found is not None:
        return found[1]
    return path.partition("/")[0] if "/" in path else None


def get_kernel(root: Path, entry: str, names: Sequence[str]) -> str:
    found = re.match(SGLANG_ENTRY, entry + "/")
    return found[2] if found is not None else entry.rpartition("_")[0] or entry


FAMILY = Family(
    name="tvm_ffi",
    variables=("TVM_FFI_CACHE_DIR", "SGLANG_JIT_CACHE_DIR"),
    get_roots=get_roots,
    get_variables=lambda root: dict.fromkeys(
        ("TVM_FFI_CACHE_DIR", "SGLANG_JIT_CACHE_DIR"), str(root)
    ),
    find_entry=find_entry,
    get_kernel=get_kernel,
    ingredients=(*HOST_CODE, *NVCC, "torch", "torch_cuda", "apache-tvm-ffi"),
    env_names=("TVM_*", "NVCC_*", "TORCH_CUDA_ARCH_LIST*", "CUDAHOSTCXX*", *HOST_COMPILERS),
    is_relocatable=False,
    repair="sglang's entries are used wherever they lie; ninja's are rebuilt in place",
    is_atomic=False,
    # sglang 0.5.23 says so behind a build, under SGLANG_JIT_LOG_RESOURCE_USAGE alone: that adds a
    # flag to the compiler's command line, and so is not among `log_variables`. Under
    # SGLANG_CRASH_ON_JIT_COMPILE (.../loader.py) it raises where it would build.
    compile_line=(
        rb"JIT (?:resource usage for |module ')(?P<kernel>[^\s:']+)"
        rb"(?::|' has no usable cached build).*"
    ),
)

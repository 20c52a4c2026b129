"""FlashInfer: ninja builds of CUDA modules, and downloaded cubins.

flashinfer-python 0.7.2.post1, jit/env.py: `$FLASHINFER_WORKSPACE_BASE/.cache/flashinfer`, else
`~/.cache/flashinfer`; below it `<version>/<archs>/{cached_ops,generated}/<module>` and `cubins/`.
Freshness is ninja's: mtimes and command lines that hold absolute paths and the *spelling* of the
CUDA home (`CUDA_HOME` through a symlink: 30 min rebuild, flashinfer#4884), so a restored archive
with new mtimes always rebuilds; stale mixed .so files deadlocked (flashinfer#4489). CuTe-DSL
modules there carry `meta.json`, written last (jit/cute_dsl_core.py). sglang 0.5.23 moves the
base to `$SGLANG_CACHE_DIR`. File locks; ninja's own outputs are not atomic.

What two other packages bring is neither downloaded nor built: flashinfer-cubin the cubins, and
flashinfer-jit-cache the modules. Since 0.7 the latter is a shim that holds none: they come in
flashinfer-jit-cache-sm90a and its kin, of the shim's very version, or are not seen (jit/env.py).
"""

from __future__ import annotations

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
)


def get_roots(env: Env) -> tuple[Path, ...]:
    tail = Path(".cache") / "flashinfer"
    bases = get_places(env, "FLASHINFER_WORKSPACE_BASE", "~", get_sglang_cache(env))
    return tuple(base / tail for base in bases)


def find_entry(path: str) -> str | None:
    parts = path.split("/")
    if parts[-1] in VOLATILE_NAMES or parts[-1].endswith((".lock", ".log")):
        return None
    if is_temporary_path(path):
        return None
    if parts[0] == "cubins":
        return path
    if len(parts) >= 5 and parts[2] in ("cached_ops", "generated"):
        return "/".join(parts[:4])
    return None


FAMILY = Family(
    name="flashinfer",
    variables=("FLASHINFER_WORKSPACE_BASE",),
    get_roots=get_roots,
    get_variables=lambda root: {"FLASHINFER_WORKSPACE_BASE": str(root)},
    find_entry=find_entry,
    ingredients=(
        *HOST_CODE,
        *NVCC,
        "torch",
        "torch_cuda",
        "flashinfer",
        "flashinfer-cubin",
        "flashinfer-jit-cache",
        "nvidia-cutlass-dsl",
        "apache-tvm-ffi",
    ),
    env_names=("FLASHINFER_*", "NVCC_*", "TORCH_CUDA_ARCH_LIST*", "CUDAHOSTCXX*", *HOST_COMPILERS),
    is_relocatable=False,
    repair="rebuild in place: ninja's command lines hold absolute paths",
    is_atomic=False,
    # FLASHINFER_JIT_VERBOSE would name more, but it also compiles without optimisation
    # (jit/core.py, gen_jit_spec: "debug"), under the same name.
    # 0.7.2 says `Building JIT module` before a build of nothing there (jit/core.py, build), where
    # 0.6 said nothing; a rebuild for newer sources leaves its entry alone.
    # Under FLASHINFER_DISABLE_JIT it raises where it would build.
    compile_line=(
        rb"flashinfer\.jit: (?:Compiling CuTe-DSL kernel|Building JIT module) (?P<kernel>[^\s;]+).*"
        rb"|JIT compilation is disabled via FLASHINFER_DISABLE_JIT.*"
    ),
)

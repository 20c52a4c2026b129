"""DeepGEMM: nvcc-compiled cubins, one folder each.

Two generations share one family.

* csrc/jit (DeepGEMM 54e2261): `cache/kernel.<name>.<digest>/{kernel.cu,kernel.cubin}` under
  `DG_JIT_CACHE_DIR`, else `~/.deep_gemm`. Key: `name$$signature$$flags$$code`; the flags hold
  the absolute include path of the installed package, so a moved environment recompiles all of
  it (vllm#48190: 41 of 41 kernels, 170.6 s instead of 76.9 s). A folder that lacks a file
  asserts in the server.
* deep_jit (sgl-deep-gemm 0.2.0 to 0.2.5, include/deep_jit/cache/disk.hpp):
  `cache/<tag>.<digest>/` with `kernel.cu`, `kernel.cubin`, `meta.json` and `.committed`, whose
  mtime every hit moves; the variable is a list, `DG_JIT_CACHE_DIR` before `DJ_JIT_CACHE_DIR`,
  else `~/.dj`; the first path is written, the others only read. Key: extra
  signature, the whole text of `nvcc --version`, options, post hook, code with the contents of
  its includes (runtime/runtime.hpp).

sglang overwrites `DG_JIT_CACHE_DIR` with `SGLANG_DG_CACHE_DIR` (0.5.23,
srt/layers/deep_gemm_wrapper/compile_utils.py; default `$SGLANG_CACHE_DIR/deep_gemm`, formerly
`~/.cache/deep_gemm`); vLLM sets it to `$VLLM_CACHE_ROOT/deep_gemm` where it is unset (0.33.0,
utils/deep_gemm.py). Both write in a temporary folder, fsync, and rename it; no lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from warmup.caches.family import (
    NVCC,
    Env,
    Family,
    get_sglang_cache,
    get_vllm_cache,
    is_temporary_path,
    unique,
)
from warmup.words.locations import expand, get_home_dir


def get_roots(env: Env) -> tuple[Path, ...]:
    roots = []
    listed = env.get("DG_JIT_CACHE_DIR") or env.get("DJ_JIT_CACHE_DIR")
    for value in filter(None, (env.get("SGLANG_DG_CACHE_DIR"), listed)):
        roots += [expand(item, env) for item in value.split(":") if item]
    if not roots:
        home = get_home_dir(env)
        roots = [
            home / ".deep_gemm",
            home / ".cache" / "deep_gemm",
            get_sglang_cache(env) / "deep_gemm",
            get_vllm_cache(env) / "deep_gemm",
            home / ".dj",
        ]
    return unique(roots)


def find_entry(path: str) -> str | None:
    parts = path.split("/")
    if len(parts) != 3 or parts[0] != "cache" or parts[1].startswith("tmp."):
        return None
    if is_temporary_path(path):
        return None
    return f"cache/{parts[1]}"


def get_kernel(root: Path, entry: str, names: Sequence[str]) -> str:
    return entry.removeprefix("cache/").removeprefix("kernel.").rpartition(".")[0] or entry


FAMILY = Family(
    name="deep_gemm",
    variables=("SGLANG_DG_CACHE_DIR", "DG_JIT_CACHE_DIR", "DJ_JIT_CACHE_DIR"),
    get_roots=get_roots,
    get_variables=lambda root: {"DG_JIT_CACHE_DIR": str(root), "SGLANG_DG_CACHE_DIR": str(root)},
    find_entry=find_entry,
    get_kernel=get_kernel,
    ingredients=(
        *NVCC,
        "deep_gemm",
        "deep_gemm_include",
        "compute_capability",
        "sm_count",
        "source",
    ),
    env_names=("DG_*", "DJ_*", "NVCC_*", "CUDAHOSTCXX*"),
    is_relocatable=True,
    repair="the folder may move; the installed package may not: keep its include path",
    is_atomic=True,
    is_temporary=lambda path: path.startswith("tmp/") or is_temporary_path(path),
    touched=frozenset({".committed"}),
    log_variables={"DG_JIT_PRINT_COMPILER_COMMAND": "1", "DJ_JIT_PRINT_COMPILER_COMMAND": "1"},
    # csrc/jit/compiler.hpp; include/deep_jit/utils/command.hpp prints every command it runs,
    # of which only the ones that make a cubin are compiles.
    compile_line=(
        rb"Running NVCC command.*|Running command: .*--cubin.*|Compiling JIT runtime with NVRTC.*"
    ),
)

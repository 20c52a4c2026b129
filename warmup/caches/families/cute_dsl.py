"""CuTe DSL: compiled objects of nvidia-cutlass-dsl programs, one file each.

nvidia-cutlass-dsl 4.3.4, base_dsl/cache_helpers.py: `CUTE_DSL_CACHE_DIR`, else
`$TMPDIR/<user>/cutlass_python_cache`. Two engines keep objects of the same compiler elsewhere:
FlashAttention (as vllm 0.33.0 carries it, vllm_flash_attn/cute/cache_utils.py)
`FLASH_ATTENTION_CUTE_DSL_CACHE_DIR`, else `<tempdir>/<user>/flash_attention_cute_dsl_cache`;
sglang 0.5.23 (kernels/jit/cute_aot_cache.py) `SGLANG_CUTE_AOT_CACHE_DIR`, else
`$SGLANG_CACHE_DIR/cute_aot`. Key: a fingerprint of sources and versions, then the arguments. The
defaults are gone with /tmp; objects are loaded into the process, so the folder must be trusted.
"""

from __future__ import annotations

from pathlib import Path

from warmup.caches.family import (
    HOST_CODE,
    Env,
    Family,
    find_file_entry,
    get_places,
    get_sglang_cache,
    get_temp_dir,
    get_user,
    unique,
)

VARIABLES = (
    "CUTE_DSL_CACHE_DIR",
    "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR",
    "SGLANG_CUTE_AOT_CACHE_DIR",
)


def get_roots(env: Env) -> tuple[Path, ...]:
    temporary = get_temp_dir(env) / get_user(env)
    defaults = (
        temporary / "cutlass_python_cache",
        temporary / "flash_attention_cute_dsl_cache",
        get_sglang_cache(env) / "cute_aot",
    )
    pairs = zip(VARIABLES, defaults, strict=True)
    return unique([get_places(env, *pair)[0] for pair in pairs])


FAMILY = Family(
    name="cute_dsl",
    variables=VARIABLES,
    get_roots=get_roots,
    get_variables=lambda root: dict.fromkeys(VARIABLES, str(root)),
    find_entry=find_file_entry,
    ingredients=(*HOST_CODE, "nvidia-cutlass-dsl"),
    env_names=("CUTE_*",),
    is_relocatable=True,
    repair="none needed: a copy is used",
    is_atomic=True,
    # vLLM's monitor (0.33.0, utils/jit_monitor.py) stands before `cute.compile`, which looks into
    # no cache of its own.
    compile_line=rb"CuTeDSL JIT compilation during inference: (?P<kernel>[\w<>]+).*",
)

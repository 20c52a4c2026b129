"""quack: CuTe DSL kernels exported as objects.

quack-kernels 0.6.5, cache/jit.py: `QUACK_CACHE_DIR`, else `<tempdir>/<user>/quack_cache`;
`<fingerprint>/<sha256>.o` beside `<sha256>.lock` (flock). Fingerprint: Python minor, cutlass and
tvm_ffi versions, quack's sources; **the architecture is in neither**, so one folder shared by two
kinds of GPU serves objects of the wrong one. An object that does not load is deleted and rebuilt.
Autotuning results (`*.autotune.json`) lie beside it.
"""

from __future__ import annotations

from pathlib import Path

from warmup.caches.family import (
    HOST_CODE,
    Env,
    Family,
    find_file_entry,
    get_places,
    get_temp_dir,
    get_user,
)


def get_roots(env: Env) -> tuple[Path, ...]:
    return get_places(env, "QUACK_CACHE_DIR", get_temp_dir(env) / get_user(env) / "quack_cache")


FAMILY = Family(
    name="quack",
    variables=("QUACK_CACHE_DIR", "TMPDIR"),
    get_roots=get_roots,
    get_variables=lambda root: {"QUACK_CACHE_DIR": str(root)},
    find_entry=find_file_entry,
    ingredients=(*HOST_CODE, "nvidia-cutlass-dsl", "quack-kernels", "apache-tvm-ffi"),
    env_names=("QUACK_*", "CUTE_*"),
    is_relocatable=True,
    repair="none needed between GPUs of one architecture; never share it across two",
    is_atomic=False,
)

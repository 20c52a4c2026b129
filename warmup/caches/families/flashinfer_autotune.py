"""FlashInfer's autotuners' results: which tactic won, of each operation and shape.

Not code: all of it is tuning (`Family.find_tuning`). Three stores hold it, and under a cache root
they share one folder, where their names do not meet.

* FlashInfer's own (0.7.2.post1, autotune_cache.py): `$FLASHINFER_AUTOTUNE_CACHE_DIR`, else
  `$FLASHINFER_WORKSPACE_BASE/.cache/flashinfer/autotune`; `v2/<environment>/{manifest.json,
  entries/<operation>.json}`, each renamed into place, none touched by a hit.
* sglang's (0.5.23, srt/model_executor/runner/flashinfer_autotune.py):
  `$SGLANG_CACHE_DIR/flashinfer/autotune/<version>/sm<XY>/<key>/rank_tp*_pp*_dp*[_gpu*].json`.
  **Every boot writes its rank's file anew**, merged with what it measured, and takes all of a
  group away whose files differ. `runs/` beside them is written and never read.
* vLLM's (0.33.0, model_executor/warmup/flashinfer_autotune_cache.py):
  `$VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR`, else
  `$VLLM_CACHE_ROOT/flashinfer_autotune_cache/<version>/<arch>`; then
  `<hash>/autotune_configs_dp*_rank*.json` (before, one `autotune_configs.json`), written only
  where something was tuned. One GPU alone uses FlashInfer's store, in this place if it is named.

Key: the versions of FlashInfer, CUDA, cuBLAS, cuDNN and its front end, CuTe DSL, and the GPU's
name, all of them inside the files; a file of another environment is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from warmup.caches.family import (
    Env,
    Family,
    get_places,
    get_sglang_cache,
    get_vllm_cache,
    is_temporary_path,
    unique,
)
from warmup.words.files import read_head

# `rank<N>.json` is FLUX.3's, below `flux3_prims_ts/<GPU>/<key>/` (flux3_image.py).
RANK_FILE = re.compile(
    r"rank(?:_tp(?P<tp>\d+)_pp(?P<pp>\d+)_dp(?P<dp>\d+)(?P<gpu>_gpu.*)?|\d+)\.json"
)
VLLM_FILE = re.compile(r"autotune_configs(?:_dp(?P<dp>\d+)_rank(?P<rank>\d+))?\.json")
OPERATION = rb'"key": "\(\'([^\']+)\''


def get_roots(env: Env) -> tuple[Path, ...]:
    sglang = get_sglang_cache(env)
    # Without a base, sglang sets its own (srt/environ.py).
    bases = get_places(env, "FLASHINFER_WORKSPACE_BASE", "~", sglang)
    own = [base / ".cache" / "flashinfer" / "autotune" for base in bases]
    vllm = get_vllm_cache(env) / "flashinfer_autotune_cache"
    return unique(
        [
            *get_places(env, "FLASHINFER_AUTOTUNE_CACHE_DIR", *own),
            sglang / "flashinfer" / "autotune",
            *get_places(env, "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR", vllm),
        ]
    )


def get_variables(root: Path) -> dict[str, str]:
    folder = str(root / "flashinfer" / "autotune")
    return {
        "FLASHINFER_AUTOTUNE_CACHE_DIR": folder,
        "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": folder,
        "SGLANG_CACHE_DIR": str(root),
    }


def is_rank_file(name: str) -> bool:
    """Whether it is one of sglang's."""
    return RANK_FILE.fullmatch(name) is not None


def find_entry(path: str) -> str | None:
    """The ranks' files of one key are one entry: they count together or not at all."""
    folder, _, name = path.rpartition("/")
    if is_temporary_path(path) or folder.endswith("/runs"):
        return None
    if folder and (is_rank_file(name) or VLLM_FILE.fullmatch(name)):
        return folder
    return path if path.startswith("v2/") and path.endswith(".json") else None


def get_kernel(root: Path, entry: str, names: Sequence[str]) -> str:
    if entry.endswith(".json"):
        found = re.search(OPERATION, read_head(root / entry))
        if found is not None:
            return f"tuning of {found[1].decode(errors='backslashreplace')}"
    return find_tuning(entry)


def find_tuning(path: str) -> str:
    return f"tuning of {path.rpartition('/')[2].removesuffix('.json')}"


FAMILY = Family(
    name="flashinfer_autotune",
    variables=(
        "FLASHINFER_AUTOTUNE_CACHE_DIR",
        "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR",
        "SGLANG_CACHE_DIR",
    ),
    get_roots=get_roots,
    get_variables=get_variables,
    find_entry=find_entry,
    get_kernel=get_kernel,
    ingredients=(
        "flashinfer",
        "torch",
        "torch_cuda",
        "nvidia-cudnn-frontend",
        "nvidia-cutlass-dsl",
        "gpu_name",
        "compute_capability",
        "source",
    ),
    env_names=("FLASHINFER_*",),
    is_relocatable=True,
    repair="none needed between GPUs of one name; those of another ignore it and measure again",
    is_atomic=True,
    is_store=is_rank_file,
    find_tuning=find_tuning,
)

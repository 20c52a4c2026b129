"""Foundry: archives of captured CUDA graphs, which a server loads instead of capturing.

From sources alone, never run here: foundry-core 0.1.0rc3, integration/{sglang,vllm}. An archive is
`rank_<N>/` with `graph_<i>_*.json` and `.cugraph`, `graph_manifest.json`, what modules the graphs
use (`fatbin_image_packed.img`, `fatbin_entrypoint_packed.txt`) and the memory layout
(`region_layout.json` for sglang, `final_alloc_offset.json` for vLLM); beside the ranks one
`warmup_state.json`. `save` makes every rank's folder anew; `load` writes nothing, and fails where
one file is missing.

**Foundry takes the place from its TOML (`workspace_root`), not from the environment**, so
`WARMUP_CI_FOUNDRY_ROOT` is ours: say the same folder in both. It may hold one archive, or a folder
for each model. An archive is bound to the torch that `foundry.ops` was built for, the driver, the
GPU's name and memory and the server's version and arguments; none of it is in a key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from warmup.caches.family import Env, Family, get_places, is_temporary_path
from warmup.words.locations import get_cache_home

RANK = re.compile(r"((?:.*/)?rank_\d+)/.")


def get_roots(env: Env) -> tuple[Path, ...]:
    return get_places(env, "WARMUP_CI_FOUNDRY_ROOT", get_cache_home(env) / "foundry_archive")


def find_entry(path: str) -> str | None:
    if is_temporary_path(path):
        return None
    if (found := RANK.match(path)) is not None:
        return found[1]
    return path if path.rpartition("/")[2] == "warmup_state.json" else None


def get_kernel(root: Path, entry: str, names: Sequence[str]) -> str:
    num_graphs = sum(name.startswith("graph_") and name.endswith(".cugraph") for name in names)
    return f"{num_graphs} graphs of {entry}" if num_graphs else entry


FAMILY = Family(
    name="foundry",
    variables=("WARMUP_CI_FOUNDRY_ROOT",),
    get_roots=get_roots,
    get_variables=lambda root: {"WARMUP_CI_FOUNDRY_ROOT": str(root)},
    find_entry=find_entry,
    get_kernel=get_kernel,
    ingredients=(
        "python",
        "torch",
        "torch_cuda",
        "torch_git",
        "foundry-core",
        "driver",
        "gpu_name",
        "compute_capability",
        "sm_count",
        "source",
    ),
    env_names=("FOUNDRY_*",),
    is_relocatable=True,
    repair="save it again with the server, versions and GPU that will load it",
    is_atomic=False,
)

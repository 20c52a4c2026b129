"""PyTorch C++ extensions built at run time, one folder each.

torch 2.13.0, utils/cpp_extension.py: `TORCH_EXTENSIONS_DIR/<name>/`, else
`~/.cache/torch_extensions/py<XY>_<cu|cpu>/<name>/` (`$XDG_CACHE_HOME` honoured, _appdirs.py).
`lock` is a *file that exists* (utils/file_baton.py): a killed builder leaves it and the next one
waits for it for ever; its holder keeps it open. Freshness is ninja's: mtimes, absolute paths.
"""

from __future__ import annotations

import re
from pathlib import Path

from warmup.caches.family import (
    HOST_CODE,
    HOST_COMPILERS,
    NVCC,
    VOLATILE_NAMES,
    Env,
    Family,
    get_places,
    is_temporary_path,
)
from warmup.words.locations import get_cache_home

BUILD_FOLDER = r"^py\d+\w*_(?:cpu|cu\d+|rocm\d+|xpu)"


def get_roots(env: Env) -> tuple[Path, ...]:
    return get_places(env, "TORCH_EXTENSIONS_DIR", get_cache_home(env) / "torch_extensions")


def find_entry(path: str) -> str | None:
    parts = path.split("/")
    if parts[-1] in VOLATILE_NAMES or is_temporary_path(path):
        return None
    depth = 2 if re.match(BUILD_FOLDER, parts[0]) else 1
    return "/".join(parts[:depth]) if len(parts) > depth else None


FAMILY = Family(
    name="torch_extensions",
    variables=("TORCH_EXTENSIONS_DIR", "XDG_CACHE_HOME"),
    get_roots=get_roots,
    get_variables=lambda root: {"TORCH_EXTENSIONS_DIR": str(root)},
    find_entry=find_entry,
    ingredients=(*HOST_CODE, *NVCC, "torch", "torch_cuda"),
    env_names=("TORCH_*", "NVCC_*", "CUDAHOSTCXX*", *HOST_COMPILERS),
    is_relocatable=False,
    repair="rebuild in place; remove a `lock` that no process holds",
    is_atomic=False,
    compile_line=rb"Building extension module (?P<kernel>\S+?)\.\.\..*",
)

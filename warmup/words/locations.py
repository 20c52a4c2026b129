"""Where things lie, as a process with a given environment would see it.

`env` is that process's, which need not be ours.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path

# Variables that name a place, and whose family's root is looked at instead.
_LOCATIONS = frozenset({
    "TRITON_HOME", "TRITON_DUMP_DIR", "TORCH_HOME", "TORCH_EXTENSIONS_DIR", "TORCH_TRACE",
    "FLASHINFER_WORKSPACE_BASE", "FLASHINFER_CUBIN_DIR", "TILELANG_TMP_DIR", "VLLM_CONFIG_ROOT",
    "VLLM_ASSETS_CACHE", "VLLM_RPC_BASE_PATH", "TORCHINDUCTOR_DUMP_LAUNCH_PARAMS", "AITER_JIT_DIR",
})  # fmt: skip
_LOCATION = re.compile(r"_CACHE_(DIR|ROOT|PATH|HOME|FOLDER)$")


def is_location(name: str) -> bool:
    """Whether the variable says where a cache lies, which the cache manifest checks by itself."""
    return name in _LOCATIONS or _LOCATION.search(name) is not None


def get_home_dir(env: Mapping[str, str]) -> Path:
    """`os.path.expanduser("~")`."""
    home = env.get("HOME")
    return Path(home if home else pwd.getpwuid(os.getuid()).pw_dir)


def get_cache_home(env: Mapping[str, str], *, is_strict: bool = False) -> Path:
    """`$XDG_CACHE_HOME`, else `~/.cache`.

    is_strict: a relative one is ignored (XDG Base Directory Specification 0.8: "consider the path
    invalid"); most programs whose caches we look for take it as it is.
    """
    said = env.get("XDG_CACHE_HOME", "")
    is_taken = said.startswith("/") if is_strict else bool(said)
    return Path(said) if is_taken else get_home_dir(env) / ".cache"


def expand(path: str, env: Mapping[str, str]) -> Path:
    """An absolute path; a leading `~` is this environment's home."""
    if path == "~" or path.startswith("~/"):
        path = str(get_home_dir(env)) + path[1:]
    if not path.startswith("/"):  # else the current folder need not even exist
        path = str(Path.cwd() / path)
    return Path(os.path.normpath(path))

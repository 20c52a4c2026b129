"""Where the hub's cache holds a model. Never the network.

The cache's layout is huggingface_hub 2.4's (constants.py, file_download.py, _cache_manager.py):
`models--ORG--NAME/refs/REVISION` names a commit, `snapshots/COMMIT/` holds links to its files.
The newest snapshot by mtime may be another revision's: only the ref tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from warmup.words.files import read_regular
from warmup.words.locations import expand, get_cache_home

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_REF_BYTES = 256


def get_hub_cache(env: Mapping[str, str]) -> Path:
    """HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if env.get(name):
            return expand(env[name], env)
    home = env.get("HF_HOME")
    return (expand(home, env) if home else get_cache_home(env) / "huggingface") / "hub"


def get_hub_folder(model: str, env: Mapping[str, str]) -> Path:
    """Where the cache keeps all that it has of a hub id; there or not."""
    return get_hub_cache(env) / ("models--" + model.replace("/", "--"))


def find_snapshot(model: str, revision: str | None, env: Mapping[str, str]) -> Path | None:
    """The folder of this revision's files (`main` for None); None where the cache has none.

    A snapshot may hold a part of the files only.
    """
    folder = get_hub_folder(model, env)
    commit = _find_commit(folder, revision or "main")
    path = folder / "snapshots" / commit if commit else None
    return path if path is not None and path.is_dir() else None


def _find_commit(folder: Path, revision: str) -> str | None:
    """The commit that a branch, a tag, `pr/1` or a commit itself means; None if it is not here."""
    if _COMMIT.fullmatch(revision):
        return revision
    if revision.startswith("/") or ".." in revision.split("/"):
        return None
    try:
        ref = read_regular(folder / "refs" / revision, _MAX_REF_BYTES, follow=True)
        commit = ref.decode("ascii").strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None

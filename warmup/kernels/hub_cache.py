"""Where a model's config.json lies: its own folder, or the hub's cache. Never the network.

The cache's layout is huggingface_hub 2.4's (constants.py, file_download.py, _cache_manager.py):
`models--ORG--NAME/refs/REVISION` names a commit, `snapshots/COMMIT/` holds links to its files.
The newest snapshot by mtime may be another revision's: only the ref tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from warmup.kernels.shapes.architecture import NotModelledError
from warmup.words.errors import UsageError
from warmup.words.locations import expand, get_cache_home

_HUB_ID = re.compile(r"(?!.*(--|\.\.))\w[\w.-]*(?:/\w[\w.-]*)?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def get_hub_cache(env: Mapping[str, str]) -> Path:
    """HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if env.get(name):
            return expand(env[name], env)
    home = env.get("HF_HOME")
    return (expand(home, env) if home else get_cache_home(env) / "huggingface") / "hub"


def get_config_path(model: str, revision: str | None, env: Mapping[str, str]) -> Path:
    """model: an absolute folder, or a hub id. The file may be missing in a folder.

    Raises UsageError for what is neither, NotModelledError for an id that the cache does not hold.
    """
    if model.startswith("/"):
        return Path(model) / "config.json"
    if not _HUB_ID.fullmatch(model) or len(model) > 96:
        raise UsageError(
            f"{model[:100]}: neither a folder nor a hub id",
            hint="give a local folder, or a hub id (org/name)",
        )
    folder = get_hub_cache(env) / ("models--" + model.replace("/", "--"))
    commit = _find_commit(folder, revision or "main")
    path = folder / "snapshots" / commit / "config.json" if commit else None
    if path is None or not path.is_file():
        wanted = model if revision is None else f"{model} at revision {revision}"
        raise NotModelledError(
            f"the hub cache holds no config.json of {wanted}",
            cause=f"looked in {folder}",
            hint="`warmup-ci kernels list --download` fetches it",
        )
    return path


def _find_commit(folder: Path, revision: str) -> str | None:
    """The commit that a branch, a tag, `pr/1` or a commit itself means; None if it is not here."""
    if _COMMIT.fullmatch(revision):
        return revision
    if revision.startswith("/") or ".." in revision.split("/"):
        return None
    try:
        commit = (folder / "refs" / revision).read_text("ascii").strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None

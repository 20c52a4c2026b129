"""Where the hub's cache holds a model, and what of it is missing. Never the network.

The cache's layout is huggingface_hub 2.4's (constants.py, file_download.py, _cache_manager.py):
`models--ORG--NAME/refs/REVISION` names a commit, `snapshots/COMMIT/` holds links to its files.
The newest snapshot by mtime may be another revision's: only the ref tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from warmup.launch.folder import CONFIG_NAMES, find_object
from warmup.words.errors import UsageError
from warmup.words.files import read_regular
from warmup.words.locations import expand, get_cache_home

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_REF_BYTES = 256
WEIGHTS = ".safetensors"
# Of a vision-language model: one of each (transformers 5).
_BESIDE_WEIGHTS = (
    ("tokenizer.json", "tokenizer_config.json", "tokenizer.model"),
    ("preprocessor_config.json", "processor_config.json"),
)


class HubFiles(msgspec.Struct, frozen=True):
    """What the cache has of a hub id's revision.

    repo: the folder of all that it has of the id, there or not. snapshot: the folder of this
    revision's files; "" where there is none. missing: the files that a model of this kind needs
    and that are not there, relative to the snapshot; weights end in `.safetensors`.
    """

    repo: str
    revision: str
    snapshot: str = ""
    missing: tuple[str, ...] = ()

    def is_complete(self, *, needs_weights: bool) -> bool:
        return bool(self.snapshot) and not self.find_missing(needs_weights=needs_weights)

    def find_missing(self, *, needs_weights: bool) -> tuple[str, ...]:
        """The same, without the weights where random ones are served."""
        return tuple(name for name in self.missing if needs_weights or not name.endswith(WEIGHTS))


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


def read_hub_files(model: str, revision: str | None, env: Mapping[str, str]) -> HubFiles:
    """Look for a diffusers or transformers model in the cache; broken JSON is its reader's."""
    repo, name = str(get_hub_folder(model, env)), revision or "main"
    snapshot = find_snapshot(model, revision, env)
    if snapshot is None:
        return HubFiles(repo, name)
    try:
        missing = tuple(_iter_missing(snapshot))
    except UsageError:
        missing = ()
    return HubFiles(repo, name, str(snapshot), missing)


def _iter_missing(snapshot: Path) -> Iterator[str]:
    """Dangling links count as missing: the file behind them was removed, or never came."""
    index = find_object(snapshot / "model_index.json")
    if index is not None:
        for part, said in index.items():  # [library, class] of each part, nulls for one left out
            if isinstance(said, list) and said and said[0]:
                if (snapshot / part).is_dir():
                    yield from (f"{part}/{name}" for name in _iter_part(snapshot / part))
                else:
                    yield f"{part}/"
    elif (snapshot / "config.json").exists():
        yield from _iter_part(snapshot)
        for names in _BESIDE_WEIGHTS:
            if not any((snapshot / name).exists() for name in names):
                yield names[0]
    else:
        yield " or ".join(CONFIG_NAMES)


def _iter_part(folder: Path) -> Iterator[str]:
    """What is missing of one model's folder: files of its index, weights, ends of links."""
    files = {path.name: path.exists() for path in folder.iterdir()}
    weights = [name for name in files if name.endswith(WEIGHTS)]
    for name in [name for name in files if name.endswith(f"{WEIGHTS}.index.json")]:
        shards = (find_object(folder / name) or {}).get("weight_map")
        weights = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else weights
    if "config.json" in files and not weights:
        yield "model.safetensors"
    yield from (name for name, is_there in sorted(files.items()) if not is_there)
    yield from (name for name in weights if name not in files)


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

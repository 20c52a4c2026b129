"""A model's config.json, read with suspicion: every value is checked where it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from warmup.kernels.shapes import BLOCK, NotModelledError
from warmup.launch.api import (
    Launch,
    download,
    find_folder,
    find_object,
    find_snapshot,
    get_hub_folder,
    is_hub_id,
)
from warmup.words.errors import UsageError

# No real size is larger; what is, is a damaged file, and would only fail much later.
_MAX_SIZE = 1 << 24


class Config:
    """The parts of config.json that shapes depend on. All getters raise UsageError."""

    def __init__(self, value: dict[str, Any], path: str) -> None:
        """path: named in errors. A multimodal config keeps its language model in `text_config`."""
        self.path = path
        text = value.get("text_config")
        self._value = {**value, **text} if isinstance(text, dict) else value

    @property
    def architectures(self) -> tuple[str, ...]:
        found = self._value.get("architectures") or []
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise self._error("architectures", "a list of names")
        return tuple(found)

    @property
    def model_type(self) -> str:
        found = self._value.get("model_type", "")
        if not isinstance(found, str):
            raise self._error("model_type", "a name")
        return found

    def get_size(self, name: str, default: int | None = None) -> int:
        """A whole number of at least 1."""
        return self._get_number(name, 1, default)

    def get_count(self, name: str, default: int | None = None) -> int:
        """A whole number of at least 0; null is 0."""
        return self._get_number(name, 0, 0 if self._value.get(name, 1) is None else default)

    def find_size(self, name: str) -> int | None:
        """A whole number of at least 1; None where the key is missing or null."""
        return None if self._value.get(name) is None else self.get_size(name)

    def find_list(self, name: str) -> list[Any] | None:
        """A list; None where the key is missing or null."""
        found = self._value.get(name)
        if found is not None and not isinstance(found, list):
            raise self._error(name, "a list")
        return found

    def get_quantisation(self) -> Quantisation:
        """Raises NotModelledError where the weights are not FP8 in 128×128 blocks."""
        found = self._value.get("quantization_config")
        if found is None:
            raise NotModelledError("the weights are not quantised (no quantization_config)")
        if not isinstance(found, dict):
            raise self._error("quantization_config", "an object")
        method, block = found.get("quant_method"), found.get("weight_block_size")
        if method != "fp8" or block != [BLOCK, BLOCK]:
            raise NotModelledError(
                f"quantisation is not FP8 in {BLOCK}×{BLOCK} blocks",
                cause=f"quant_method {method!r}, weight_block_size {block!r}",
            )
        ignored = found.get("ignored_layers") or found.get("modules_to_not_convert") or []
        if not isinstance(ignored, list) or not all(isinstance(name, str) for name in ignored):
            raise self._error("quantization_config.modules_to_not_convert", "a list of names")
        return Quantisation(tuple(ignored))

    def _get_number(self, name: str, least: int, default: int | None) -> int:
        found = self._value.get(name)
        if found is None and default is not None:
            return default
        # bool is an int to Python, and no size.
        if type(found) is not int or not least <= found <= _MAX_SIZE:
            raise self._error(name, f"a whole number from {least} to {_MAX_SIZE}")
        return found

    def _error(self, name: str, expected: str) -> UsageError:
        found = self._value.get(name, msgspec.UNSET)
        told = "nothing" if found is msgspec.UNSET else repr(found)[:80]
        return UsageError(f"{self.path}: {name}: expected {expected}, found {told}")


class Quantisation:
    """Which modules are quantised: all but those that `ignored` names."""

    def __init__(self, ignored: tuple[str, ...]) -> None:
        self._ignored = frozenset(name.rstrip(".") for name in ignored)

    def is_ignored(self, module: str) -> bool:
        """Whether a dotted module path is left in bf16.

        An entry ignores the module it names, all below it, and every path that holds it as whole
        parts (sglang 0.5.23, layers/quantization/utils.py, _module_path_match).
        """
        parts = module.split(".")
        if not self._ignored:
            return False
        return any(
            ".".join(parts[start:end]) in self._ignored
            for start in range(len(parts))
            for end in range(start + 1, len(parts) + 1)
        )


def get_config_path(model: str, revision: str | None, env: Mapping[str, str]) -> Path:
    """model: an absolute folder, or a hub id. The file may be missing in a folder.

    Raises UsageError for what is neither, NotModelledError for an id that the cache does not hold.
    """
    folder = find_folder(model)
    if folder is not None:
        return folder / "config.json"
    if not is_hub_id(model):
        raise UsageError(
            f"{model[:100]}: neither a folder nor a hub id",
            hint="give a local folder, or a hub id (org/name)",
        )
    snapshot = find_snapshot(model, revision, env)
    if snapshot is None or not (snapshot / "config.json").is_file():
        wanted = model if revision is None else f"{model} at revision {revision}"
        raise NotModelledError(
            f"the hub cache holds no config.json of {wanted}",
            cause=f"looked in {get_hub_folder(model, env)}",
            hint="`warmup-ci kernels list --download` fetches it",
        )
    return snapshot / "config.json"


def read_config(path: Path) -> Config:
    """Read config.json. Raises UsageError for one that is missing, unreadable or not an object."""
    value = find_object(path)
    if value is None:
        raise UsageError(f"{path}: no such file", hint="is it the model's own folder?")
    return Config(value, str(path))


_TIMEOUT_S = 300


def download_config(launch: Launch, env: Mapping[str, str]) -> None:
    """Fetch the config.json that the hub cache lacks, and only it.

    env: the server's. Raises WarmupError where it cannot be fetched.
    """
    try:
        get_config_path(launch.model, launch.revision, env)
        return
    except NotModelledError:
        pass
    download(launch, env, "config", timeout_s=_TIMEOUT_S)

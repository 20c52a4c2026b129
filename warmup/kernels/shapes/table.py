"""Find the architecture of a config; each is imported only when it is asked for."""

from __future__ import annotations

import importlib
from typing import cast

from warmup.kernels.config import Config
from warmup.kernels.shapes.architecture import Architecture, NotModelledError

_MODULES = ("deepseek", "glm5", "mimo", "qwen3_moe", "qwen3")


def get_architecture(config: Config) -> Architecture:
    """By `architectures`, and by `model_type` where the config names none.

    Raises NotModelledError for one that is not known.
    """
    for module in _MODULES:
        found = cast(Architecture, importlib.import_module(f"warmup.kernels.shapes.{module}"))
        if any(name in found.classes for name in config.architectures):
            return found
        if not config.architectures and config.model_type in found.model_types:
            return found
    told = ", ".join(config.architectures) or config.model_type or "none named"
    raise NotModelledError(
        f"unknown architecture ({told})", hint=f"known are {', '.join(_MODULES)}"
    )

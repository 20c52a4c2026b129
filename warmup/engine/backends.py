"""From a model folder to the backend that serves it. Imports nothing heavy."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmup.engine.args import ServerArgs
from warmup.engine.frontend import Frontend
from warmup.words.errors import UsageError


@dataclass(frozen=True)
class Backend:
    """`runner` and `frontend` are `module:function`; worker.py says what they make."""

    name: str
    runner: str
    frontend: str

    def make_frontend(self, args: ServerArgs) -> Frontend:
        make: Callable[[ServerArgs], Any] = load(self.frontend)
        return make(args)


DIFFUSION = Backend(
    "diffusion",
    "warmup.engine.diffusion.runner:make_runner",
    "warmup.engine.diffusion.frontend:make_frontend",
)
VLM = Backend(
    "vlm", "warmup.engine.vlm.runner:make_runner", "warmup.engine.vlm.frontend:make_frontend"
)


def load(target: str) -> Any:
    """The object that `module:name` names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def get_backend(model: str) -> Backend:
    """diffusers folders have a model_index.json, transformers folders a config.json.

    Raises `UsageError` for anything else; a hub id is not looked up.
    """
    folder = Path(model)
    if not folder.is_dir():
        raise UsageError(
            f"no model folder {model}",
            hint="the reference engine serves local folders: download the model first",
        )
    if (folder / "model_index.json").is_file():
        return DIFFUSION
    if (folder / "config.json").is_file():
        return VLM
    raise UsageError(
        f"{model} is not a model folder",
        cause="neither model_index.json (diffusers) nor config.json (transformers) is in it",
    )

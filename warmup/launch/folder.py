"""What a model's name means on this machine, and what its folder says of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from warmup.launch.launch import Launch
from warmup.words.errors import UsageError

# huggingface_hub 1.x, utils/_validators.py: one or two parts of these characters, at most 96 long,
# none starting or ending with "-" or ".", no "--" and no "..".
_HUB_ID = re.compile(r"(?!.*(--|\.\.))[\w](?:[\w.-]*[\w])?(?:/[\w](?:[\w.-]*[\w])?)?", re.ASCII)
_LOCAL_PREFIXES = ("/", "./", "../", "~")


@dataclass(frozen=True)
class ModelFolder:
    """The parts of a model's folder that choose an engine.

    pipeline: `_class_name` of model_index.json (diffusers), None without that file.
    architectures: those of config.json (transformers), () without them.
    """

    path: Path
    pipeline: str | None
    architectures: tuple[str, ...]
    has_config: bool


def find_folder(model: str) -> Path | None:
    """The local path that this model is, absolute, there or not; None for a hub id."""
    if model.startswith(_LOCAL_PREFIXES) or model in (".", ".."):
        # os.path's, as Path's raises for an unknown ~user.
        return Path(os.path.abspath(os.path.expanduser(model)))  # noqa: PTH100, PTH111
    return None


def get_model_argument(launch: Launch) -> str:
    """What a server is told: the hub id as written, or the folder's absolute path."""
    return str(find_folder(launch.model) or launch.model)


def read_folder(path: Path) -> ModelFolder:
    """Read model_index.json and config.json; UsageError for a file that is no JSON object."""
    index = _read_object(path / "model_index.json")
    config = _read_object(path / "config.json")
    pipeline = None if index is None else index.get("_class_name")
    architectures = (config or {}).get("architectures") or []
    if not isinstance(architectures, list):
        raise UsageError(f"{path / 'config.json'}: `architectures` is not a list")
    return ModelFolder(
        path=path,
        pipeline=None if index is None else str(pipeline),
        architectures=tuple(str(name) for name in architectures),
        has_config=config is not None,
    )


def has_chat_template(path: Path) -> bool:
    """Whether the tokenizer of this folder can format a chat (transformers 5 file names)."""
    if any((path / name).exists() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    return "chat_template" in (_read_object(path / "tokenizer_config.json") or {})


def get_label(launch: Launch) -> str:
    """The model as the user wrote it."""
    return launch.label or launch.model


def find_name_problem(launch: Launch) -> UsageError | None:
    """Why the model's name means nothing: no such folder, nor a hub id; None if it does."""
    folder = find_folder(launch.model)
    if folder is not None:
        if folder.is_dir():
            return None
        what = "not a folder" if os.path.lexists(folder) else "no such folder"
    elif len(launch.model) <= 96 and _HUB_ID.fullmatch(launch.model):
        return None
    else:
        what = "neither a folder nor a hub id"
    return UsageError(
        f"{get_label(launch)}: {what}", hint="give a local folder, or a hub id (org/name)"
    )


def _read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in this file; None where there is no such file."""
    try:
        value = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read", cause=error.strerror) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"{path}: no valid JSON", cause=str(error)) from error
    if not isinstance(value, dict):
        raise UsageError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value

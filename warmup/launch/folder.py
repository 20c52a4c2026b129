"""What a model's name means on this machine, and what its folder says of it.

The one reader of config.json and model_index.json, and the one judge of `folder or hub id`.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from warmup.words.errors import UsageError
from warmup.words.files import read_regular

# huggingface_hub 1.x, utils/_validators.py: one or two parts of these characters, at most 96 long,
# none starting or ending with "-" or ".", no "--" and no "..".
_HUB_ID = re.compile(r"(?!.*(--|\.\.))[\w](?:[\w.-]*[\w])?(?:/[\w](?:[\w.-]*[\w])?)?", re.ASCII)
_LOCAL_PREFIXES = ("/", "./", "../", "~")
CONFIG_NAMES = ("config.json", "model_index.json")
_MAX_BYTES = 16 << 20
# Vision-language models whose config.json has no `vision_config` (their own remote code).
_VISION_ARCHITECTURES = frozenset({
    "InternVLChatModel", "LlavaLlamaForCausalLM", "LlavaMistralForCausalLM",
    "LlavaQwenForCausalLM", "MiniCPMO", "MiniCPMV", "MolmoForCausalLM", "Phi3VForCausalLM",
    "Phi4MMForCausalLM",
})  # fmt: skip


@dataclass(frozen=True)
class ModelFolder:
    """The parts of a model's folder that choose an engine and its request.

    pipeline: `_class_name` of model_index.json (diffusers), None without that file.
    config: config.json (transformers), None without that file.
    """

    path: Path
    pipeline: str | None
    config: dict[str, Any] | None

    @property
    def has_config(self) -> bool:
        return self.config is not None

    @property
    def architectures(self) -> tuple[str, ...]:
        """Those of config.json; () without them."""
        return tuple(str(name) for name in (self.config or {}).get("architectures") or ())

    @property
    def takes_images(self) -> bool:
        """Whether this is a vision-language model, as far as its config.json tells."""
        config = self.config or {}
        parts = [config, config.get("thinker_config")]  # Qwen's omni models nest it
        has_vision = any(isinstance(part, dict) and part.get("vision_config") for part in parts)
        return has_vision or not _VISION_ARCHITECTURES.isdisjoint(self.architectures)


def find_folder(model: str, base: Path | None = None) -> Path | None:
    """The local path that this model is, absolute, there or not; None for a hub id.

    base: what a relative path starts from; the working folder where it is None. `..` is resolved,
    after links where a link stands before it.
    """
    if not model.startswith(_LOCAL_PREFIXES) and model not in (".", ".."):
        return None
    # os.path's, as Path's raises for an unknown ~user.
    written = os.path.join(base or Path.cwd(), os.path.expanduser(model))  # noqa: PTH111, PTH118
    plain = os.path.abspath(written)  # noqa: PTH100
    if ".." in Path(written).parts and os.path.realpath(written) != os.path.realpath(plain):
        return Path(written).resolve()
    return Path(plain)


def is_hub_id(model: str) -> bool:
    """Whether the hub would take this name; there need be no such model."""
    return len(model) <= 96 and _HUB_ID.fullmatch(model) is not None


def find_name_problem(model: str, label: str) -> UsageError | None:
    """Why the model's name means nothing: no such folder, nor a hub id; None if it does.

    label: the model as the user wrote it.
    """
    folder = find_folder(model)
    if folder is not None:
        if folder.is_dir():
            return None
        what = "not a folder" if os.path.lexists(folder) else "no such folder"
    elif is_hub_id(model):
        return None
    else:
        what = "neither a folder nor a hub id"
    return UsageError(f"{label}: {what}", hint="give a local folder, or a hub id (org/name)")


def read_folder(path: Path) -> ModelFolder:
    """Read model_index.json and config.json; UsageError for a file that is not a JSON object."""
    index = find_object(path / "model_index.json")
    config = find_object(path / "config.json")
    pipeline = None if index is None else str(index.get("_class_name"))
    if not isinstance((config or {}).get("architectures") or [], list):
        raise UsageError(f"{path / 'config.json'}: `architectures` is not a list")
    return ModelFolder(path, pipeline, config)


def has_chat_template(path: Path) -> bool:
    """Whether the tokenizer of this folder can format a chat (transformers 5 file names)."""
    if any((path / name).exists() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    return "chat_template" in (find_object(path / "tokenizer_config.json") or {})


def find_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in this file; None where there is no such file. Raises UsageError."""
    try:
        value = msgspec.json.decode(read_regular(path, _MAX_BYTES, follow=True))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        cause = "larger than any such file" if error.errno == errno.EFBIG else error.strerror
        raise UsageError(f"{path}: cannot be read", cause=cause) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid JSON", cause=str(error)) from error
    if not isinstance(value, dict):
        raise UsageError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def find_content(path: Path) -> bytes | None:
    """The bytes of a configuration file. One that may not be read is the server's to report."""
    try:
        return read_regular(path, _MAX_BYTES, follow=True)
    except OSError:
        return None

"""JSON files of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from warmup.words.errors import UsageError
from warmup.words.files import read_regular

MAX_JSON_BYTES = 64 << 20  # the index of a large checkpoint is a few MiB


def read_json(path: Path) -> dict[str, Any]:
    """Raises `UsageError` that names the file if it is missing, broken or not an object."""
    try:
        # A hub cache has links for files.
        value = json.loads(read_regular(path, MAX_JSON_BYTES, follow=True))
    except FileNotFoundError:
        raise UsageError(f"missing file {path}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}", cause=str(error)) from None
    if not isinstance(value, dict):
        raise UsageError(f"{path} does not hold a JSON object")
    return value


def read_generation_config(folder: Path) -> dict[str, Any]:
    """generation_config.json, which a model may do without; {} then."""
    try:
        return read_json(folder / "generation_config.json")
    except UsageError:
        return {}

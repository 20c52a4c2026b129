"""`python -m tests.state.write_schema`: write markers/marker.schema.json from the marker itself."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import msgspec

from warmup.state.marker import Marker
from warmup.words import encoding

SCHEMA_FILE = Path(__file__).parents[2] / "markers" / "marker.schema.json"


def make_schema() -> bytes:
    """The file's bytes, the same on every Python: 3.13 dedents docstrings, 3.12 does not."""
    return encoding.encode_pretty(_dedent(msgspec.json.schema(Marker)))


def _dedent(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: inspect.cleandoc(item) if name == "description" else _dedent(item)
            for name, item in value.items()
        }
    return [_dedent(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    SCHEMA_FILE.write_bytes(make_schema())

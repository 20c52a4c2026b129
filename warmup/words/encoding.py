"""One way to write data as bytes, so that equal data has equal digests."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from warmup.words import escape


def clean(value: Any) -> Any:
    """`value` (builtins only) with every string made encodable (`escape.clean`)."""
    if isinstance(value, str):
        return escape.clean(value)
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def encode(value: Any) -> bytes:
    """Compact JSON with sorted keys of builtins or msgspec structs."""
    return msgspec.json.encode(clean(msgspec.to_builtins(value)), order="sorted")


def encode_pretty(value: Any) -> bytes:
    """The same, indented for people, with a newline at its end. Equal data, equal bytes."""
    return msgspec.json.format(encode(value), indent=1) + b"\n"


def get_digest(value: Any) -> str:
    """sha256 of `encode(value)`, 64 hex digits."""
    return hashlib.sha256(encode(value)).hexdigest()


def encode_json(value: Any) -> bytes:
    """One JSON document for others to read, fields in their own order, without a newline.

    Text that is not encodable is written as JSON's own escapes, so that it survives.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        import json

        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode("ascii")

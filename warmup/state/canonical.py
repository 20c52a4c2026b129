"""One way to write data as bytes, so that equal data has equal digests."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec


def clean(value: Any) -> Any:
    """`value` (builtins only) with every string made encodable.

    A path or an argument whose bytes are not UTF-8 reaches Python as lone surrogates (PEP 383),
    which JSON cannot carry: they become the text of their escape, `\\udcff`.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
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

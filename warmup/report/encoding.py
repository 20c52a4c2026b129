"""JSON bytes of whatever a run has to say, undecodable command lines included."""

from __future__ import annotations

import json
from typing import Any

import msgspec


def encode_json(value: Any) -> bytes:
    """One JSON document in UTF-8, without a newline.

    A model folder or an argument whose bytes are not UTF-8 reaches Python as lone surrogates
    (PEP 383), which msgspec refuses: then every non-ASCII character is escaped instead.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode("ascii")

"""Judges of answers: what is wrong with the body of a 200.

Engines answer 200 with an error inside (a list of predictions, a stream that breaks off, an empty
completion), so a status says little. Each judge returns one line, or None for a good answer.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

_EXCERPT_CHARS = 300
# First bytes of PNG, JPEG, WebP/RIFF and, four bytes in, of MP4 and AVIF.
_MAGIC = ((0, b"\x89PNG"), (0, b"\xff\xd8\xff"), (0, b"RIFF"), (4, b"ftyp"))


def excerpt(body: bytes | str) -> str:
    """The beginning of a body, in one line, for a message."""
    start = body[: 4 * _EXCERPT_CHARS]
    if isinstance(start, bytes):
        start = start.decode("utf-8", "backslashreplace")
    text = " ".join(start.split())
    return text if len(text) <= _EXCERPT_CHARS else text[:_EXCERPT_CHARS] + "…"


def find_completion_fault(body: bytes, *, accept_empty_text: bool = False) -> str | None:
    """OpenAI's completions and chat completions, whole or streamed.

    Good: no error, at least one choice, text in it. accept_empty_text: tokens are enough, since
    random weights may pick only special ones.
    """
    documents = _decode_documents(body)
    if documents is None:
        return f"the answer is not JSON: {excerpt(body)}"
    choices: list[Any] = []
    num_tokens = 0
    for document in documents:
        error = _find_error(document)
        if error is not None:
            return error
        choices += _list_of(document, "choices")
        num_tokens += _count_tokens(document.get("usage"), "completion_tokens")
    if not choices:
        return f"the answer has no choices: {excerpt(body)}"
    for choice in choices:
        reason = choice.get("finish_reason") if isinstance(choice, dict) else None
        if reason in ("error", "abort"):
            return f"the answer ended with {reason!r}: {excerpt(body)}"
    if any(map(_get_text, choices)) or (accept_empty_text and num_tokens > 0):
        return None
    return f"the answer has no text: {excerpt(body)}"


def find_generate_fault(body: bytes, *, accept_empty_text: bool = False) -> str | None:
    """sglang's `/generate` (0.5.23, srt/managers/tokenizer_manager.py): `text` and `meta_info`."""
    documents = _decode_documents(body)
    if not documents:
        return f"the answer is not JSON: {excerpt(body)}"
    answer = documents[-1]
    error = _find_error(answer)
    if error is not None:
        return error
    meta = answer.get("meta_info")
    reason = meta.get("finish_reason") if isinstance(meta, dict) else None
    if isinstance(reason, dict) and reason.get("type") in ("abort", "error"):
        return f"generation was aborted: {excerpt(str(reason.get('message')))}"
    if isinstance(answer.get("text"), str) and answer["text"]:
        return None
    if accept_empty_text and _count_tokens(meta, "completion_tokens") > 0:
        return None
    return f"the answer has no text: {excerpt(body)}"


def find_media_fault(body: bytes) -> str | None:
    """OpenAI's image generations and edits: `data`, each with an image or where it is."""
    return _find_listed_fault(body, "data", "b64_json", ("url", "file_path"))


def find_predictions_fault(body: bytes) -> str | None:
    """sglang-diffusion's `/vertex_generate` (0.5.23, http_server.py): errors come inside a 200."""
    return _find_listed_fault(body, "predictions", "output", ())


def _find_listed_fault(
    body: bytes, key: str, inline: str, elsewhere: tuple[str, ...]
) -> str | None:
    """An answer whose `key` lists media: in the field `inline`, or where `elsewhere` points."""
    documents = _decode_documents(body)
    if not documents:
        return f"the answer is not JSON: {excerpt(body)}"
    error = _find_error(documents[0])
    if error is not None:
        return error
    items = _list_of(documents[0], key)
    if not items:
        return f"the answer has no {key}: {excerpt(body)}"
    faults = (_find_item_fault(item, inline, elsewhere) for item in items)
    return next((fault for fault in faults if fault is not None), None)


def _find_item_fault(item: Any, key: str, references: tuple[str, ...]) -> str | None:
    if not isinstance(item, dict):
        return f"expected an object with {key!r}, found {item!r:.100}"
    error = _find_error(item)
    if error is not None:
        return error
    encoded = item.get(key)
    if not encoded:
        has_reference = any(item.get(name) for name in references)
        return None if has_reference else f"the answer has no {key!r}"
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, TypeError, ValueError) as problem:
        return f"{key!r} is not base64: {problem}"
    if not any(data[at : at + len(magic)] == magic for at, magic in _MAGIC):
        return f"{key!r} is not an image or video: it starts with {data[:12]!r}"
    return None


def _decode_documents(body: bytes) -> list[dict[str, Any]] | None:
    """The JSON objects of a body: one, or one for each `data:` line of an event stream."""
    texts = [body]
    if body.lstrip().startswith((b"data:", b"event:", b":")):
        lines = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
        texts = [line for line in lines if line != b"[DONE]"]
    try:
        values = [msgspec.json.decode(text) for text in texts]
    except (msgspec.DecodeError, RecursionError):
        return None
    return values if values and all(isinstance(value, dict) for value in values) else None


def _find_error(document: dict[str, Any]) -> str | None:
    """The error that a 200 carries: `error`, or `"object": "error"`."""
    error = document.get("error")
    if document.get("object") == "error":
        error = document.get("message") or document
    if isinstance(error, dict):
        error = error.get("message") or error
    return f"the answer is an error: {excerpt(str(error))}" if error else None


def _list_of(document: dict[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    return value if isinstance(value, list) else []


def _count_tokens(usage: Any, key: str) -> int:
    count = usage.get(key) if isinstance(usage, dict) else None
    return count if isinstance(count, int) else 0


def _get_text(choice: Any) -> str:
    """Text, reasoning or tool calls of one choice; "" where there is none."""
    if not isinstance(choice, dict):
        return ""
    parts: list[Any] = [choice.get("text")]
    for key in ("message", "delta"):
        message = choice.get(key)
        if isinstance(message, dict):
            parts += [message.get("content"), message.get("reasoning_content")]
            parts += [message.get("reasoning"), message.get("tool_calls")]
    return "".join(str(part) for part in parts if part)

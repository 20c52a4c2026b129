"""Bodies of requests as data, for every backend. How large one may be, and how long it may take to
come, is `engine/admission.py`'s, which every read passes through."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from warmup.engine.messages import invalid


async def read_json(request: Request) -> dict[str, Any]:
    """Raises `RequestError` for what is not a JSON object."""
    content = b"".join([chunk async for chunk in request.stream()])
    try:
        # In a thread: 64 MiB take a while, and health must answer meanwhile.
        body = await asyncio.to_thread(json.loads, content)
    except (ValueError, RecursionError) as error:
        raise invalid(f"the body is not JSON: {error}", "body") from None
    if not isinstance(body, dict):
        raise invalid("the body is not a JSON object", "body")
    return body


async def read_fields(request: Request) -> tuple[dict[str, Any], bool]:
    """The body's fields, and whether they come from a form, whose numbers are text.

    Uploaded files are bytes; a name that occurs twice has a list. Raises `RequestError`.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await read_json(request), False
    try:
        form = await request.form(max_files=4, max_fields=64)
    except (MultiPartException, ValueError) as error:
        raise invalid(f"the form cannot be read: {error}", "body") from None
    fields: dict[str, Any] = {}
    try:
        for key, value in form.multi_items():
            item = await value.read() if isinstance(value, UploadFile) else value
            fields[key] = [*fields.get(key, []), item]
    finally:
        await form.close()
    return {key: items[0] if len(items) == 1 else items for key, items in fields.items()}, True

"""OpenAI-style paths of a diffusion model: images, edits, videos."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import Any

from fastapi import FastAPI, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from warmup.engine.client import RankClient
from warmup.engine.diffusion.requests import parse_request
from warmup.engine.diffusion.spec import FamilySpec
from warmup.engine.messages import RequestError, invalid

MAX_BODY_BYTES = 64 << 20


def add_routes(app: FastAPI, client: RankClient, spec: FamilySpec) -> None:
    """Every path is there for every family: the wrong one says which is right."""
    is_video = spec.task.makes_video

    async def generate(request: Request, *, accepts_image: bool, video: bool) -> dict[str, Any]:
        if video != is_video:
            right = "/v1/videos" if is_video else "/v1/images/generations or /v1/images/edits"
            raise invalid(f"{spec.name} ({spec.task.value}) is served by {right}", "model")
        body, lax = await read_body(request)
        given, image = parse_request(
            body,
            accepts_image=accepts_image,
            output_format="apng" if is_video else "png",
            lax=lax,
        )
        payload = {"given": given, "image": image}
        await client.warm_first(lambda: client.call("generate", payload, warmup=True))
        made = await client.call("generate", payload)
        return {
            "created": int(time.time()),
            "output_format": made["type"],
            "data": [{"b64_json": base64.b64encode(each).decode()} for each in made["media"]],
        }

    @app.post("/v1/images/generations")
    async def generations(request: Request) -> dict[str, Any]:
        return await generate(request, accepts_image=False, video=False)

    @app.post("/v1/images/edits")
    async def edits(request: Request) -> dict[str, Any]:
        return await generate(request, accepts_image=True, video=False)

    @app.post("/v1/videos")
    async def videos(request: Request) -> dict[str, Any]:
        made = await generate(request, accepts_image=True, video=True)
        return {"id": f"video_{uuid.uuid4().hex}", "object": "video", "status": "completed", **made}


async def read_body(request: Request) -> tuple[dict[str, Any], bool]:
    """The body's fields, and whether they come from a form. JSON unless it says multipart.

    Raises `RequestError` for what is neither, and for more than 64 MiB.
    """
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await _read_form(request), True
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        chunks.append(chunk)
    try:
        body = json.loads(b"".join(chunks))
    except (ValueError, RecursionError) as error:
        raise invalid(f"the body is not JSON: {error}", "body") from None
    if not isinstance(body, dict):
        raise invalid("the body is no JSON object", "body")
    return body, False


def _too_large() -> RequestError:
    return invalid(f"the body is larger than {MAX_BODY_BYTES >> 20} MiB", "body")


async def _read_form(request: Request) -> dict[str, Any]:
    if int(request.headers.get("content-length") or 0) > MAX_BODY_BYTES:
        raise _too_large()
    try:
        form = await request.form(max_files=4, max_fields=64)
    except (MultiPartException, ValueError) as error:
        raise invalid(f"the form cannot be read: {error}", "body") from None
    fields: dict[str, Any] = {}
    try:
        for key, value in form.multi_items():
            item = await value.read(MAX_BODY_BYTES) if isinstance(value, UploadFile) else value
            fields[key] = [*fields.get(key, []), item]
    finally:
        await form.close()
    return {key: items[0] if len(items) == 1 else items for key, items in fields.items()}

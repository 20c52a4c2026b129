"""OpenAI-style paths of a diffusion model: images, edits, videos; and how a body becomes sampling
parameters and the bytes of an image. Imports no torch."""

from __future__ import annotations

import base64
import re
import time
import uuid
from typing import Any

import msgspec
from fastapi import FastAPI, Request

from warmup.engine.body import read_fields
from warmup.engine.client import RankClient
from warmup.engine.diffusion.params import Sampling
from warmup.engine.diffusion.spec import FamilySpec
from warmup.engine.images import decode_base64, get_data_url_text
from warmup.engine.messages import invalid


def add_routes(app: FastAPI, client: RankClient, spec: FamilySpec) -> None:
    """Every path is there for every family: the wrong one says which is right."""
    is_video = spec.task.makes_video

    async def generate(request: Request, *, accepts_image: bool, video: bool) -> dict[str, Any]:
        if video != is_video:
            right = "/v1/videos" if is_video else "/v1/images/generations or /v1/images/edits"
            raise invalid(f"{spec.name} ({spec.task.value}) is served by {right}", "model")
        body, lax = await read_fields(request)
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


# OpenAI's parameters that change nothing here.
_IGNORED = frozenset(("model", "user", "quality", "style", "background", "moderation", "stream"))
_IMAGE_FIELDS = ("image", "image[]", "input_reference")
_SIZE = re.compile(r"([0-9]{1,6})x([0-9]{1,6})")
_BAD_FIELD = re.compile(r"`\$\.([a-z_]+)")


def parse_request(
    body: dict[str, Any], *, accepts_image: bool, output_format: str, lax: bool = False
) -> tuple[Sampling, bytes | None]:
    """`lax`: a form, whose numbers are text. Raises `RequestError` naming the field."""
    body = {key: value for key, value in body.items() if key not in _IGNORED and value is not None}
    _check_output(body, output_format)
    image = _take_image(body, accepts_image)
    _take_size(body)
    for key in body:
        if key not in Sampling.__struct_fields__:
            raise invalid(f"unknown parameter {key!r}", key)
    try:
        return msgspec.convert(body, Sampling, strict=not lax), image
    except msgspec.ValidationError as error:
        found = _BAD_FIELD.search(str(error))
        raise invalid(str(error), found[1] if found else None) from None


def _check_output(body: dict[str, Any], output_format: str) -> None:
    if body.pop("response_format", "b64_json") != "b64_json":
        raise invalid("response_format must be b64_json", "response_format")
    if body.pop("output_format", output_format) != output_format:
        raise invalid(f"output_format must be {output_format}", "output_format")


def _take_size(body: dict[str, Any]) -> None:
    """OpenAI's `size` becomes width and height; `auto` is the model's own."""
    size = body.pop("size", "auto")
    if size == "auto":
        return
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if match is None:
        raise invalid(f"size must be WIDTHxHEIGHT, not {size!r}", "size")
    if "width" in body or "height" in body:
        raise invalid("size contradicts width and height", "size")
    body["width"], body["height"] = int(match[1]), int(match[2])


def _take_image(body: dict[str, Any], accepts_image: bool) -> bytes | None:
    given = [(key, body.pop(key)) for key in _IMAGE_FIELDS if key in body]
    if not given:
        return None
    key, value = given[0]
    if not accepts_image:
        raise invalid("an image goes to /v1/images/edits or /v1/videos", key)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if len(given) > 1 or isinstance(value, list):
        raise invalid("one image per request", key)
    if isinstance(value, dict):
        value = value.get("url") or value.get("image_url")
    return value if isinstance(value, bytes) else _decode_image(value, key)


def _decode_image(value: object, key: str) -> bytes:
    """A data URL or bare base64. Never a path or a remote address: this server reads neither."""
    if not isinstance(value, str):
        raise invalid("image must be a data URL, base64 or an uploaded file", key)
    if value.startswith(("http://", "https://", "file:")):
        raise invalid("image addresses are not fetched: send a data URL", key)
    text = get_data_url_text(value, key) if value.startswith("data:") else value
    return decode_base64(text, key)

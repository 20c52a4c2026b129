"""OpenAI-style paths of a diffusion model: images, edits, videos."""

from __future__ import annotations

import base64
import time
import uuid
from typing import Any

from fastapi import FastAPI, Request

from warmup.engine.body import read_fields
from warmup.engine.client import RankClient
from warmup.engine.diffusion.requests import parse_request
from warmup.engine.diffusion.spec import FamilySpec
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

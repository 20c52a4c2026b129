"""The requests that warm a language or a vision-language model, in OpenAI's forms; their picture.

All are greedy and 8 tokens long, where nothing else is said: a prefill, and decoding steps.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from warmup.launch.arguments import parse
from warmup.launch.folder import has_chat_template, read_folder
from warmup.launch.ladder import LadderStep
from warmup.launch.launch import Launch, RequestSpec

CHAT_PATH = "/v1/chat/completions"
COMPLETION_PATH = "/v1/completions"
# The side of CLIP's and SigLIP's training images; whole patches of 14, 16, 28 and 32 pixels.
IMAGE_PX = 224
# FLUX.2's processor failed below it (sglang#28184); and what a benchmark's pictures are like.
SMALL_PX, LARGE_PX = 64, 1024


def make_completion_request(model: str, **more: Any) -> RequestSpec:
    """Needs no chat template. model: as the server calls it."""
    body = {"model": model, "prompt": "warmup", "max_tokens": 8, "temperature": 0, **more}
    return RequestSpec(path=COMPLETION_PATH, json=body)


def make_chat_request(*, image_px: int = 0, text: str = "warmup", **more: Any) -> RequestSpec:
    """One user's message, behind a picture of that side where it is above 0."""
    content: object = text
    if image_px:
        image = {"type": "image_url", "image_url": {"url": make_image_url(image_px, image_px)}}
        content = [image, {"type": "text", "text": text}]
    messages = [{"role": "user", "content": content}]
    return RequestSpec(
        path=CHAT_PATH, json={"messages": messages, "max_tokens": 8, "temperature": 0, **more}
    )


def can_show_image(launch: Launch, env: Mapping[str, str]) -> bool:
    """Whether this is a vision-language model whose server can format a chat with a picture.

    env: the server's. By config.json; without a chat template a server refuses every chat.
    """
    files = launch.find_files(env)
    if files is None or not read_folder(files).takes_images:
        return False
    said = parse(launch.fallback_args, launch.engine).find("--chat-template")
    return said is not None or has_chat_template(files)


def make_image_steps(**more: Any) -> list[LadderStep]:
    """For a server whose first request shows a picture of `IMAGE_PX`."""
    return [
        LadderStep(f"image {side}", (make_chat_request(image_px=side, **more),), side == LARGE_PX)
        for side in (SMALL_PX, LARGE_PX)
    ]


def make_image_url(width: int = 256, height: int = 256) -> str:
    """A grey PNG as a data URL, sizes in pixels.

    256 × 256, because an image under 64 px made FLUX.2's processor fail (sglang#28184), and 64 × 64
    is unrepresentative (sglang#28119).
    """
    rows = (b"\x00" + b"\x80\x80\x80" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        _make_chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _make_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum

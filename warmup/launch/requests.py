"""The requests that warm a language or a vision-language model, in OpenAI's forms.

All are greedy and 8 tokens long: a prefill, and decoding steps enough to meet every kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from warmup.launch.arguments import parse
from warmup.launch.folder import has_chat_template, read_folder
from warmup.launch.launch import Launch, RequestSpec
from warmup.launch.media import make_image_url

CHAT_PATH = "/v1/chat/completions"
COMPLETION_PATH = "/v1/completions"
# The side of CLIP's and SigLIP's training images; whole patches of 14, 16, 28 and 32 pixels.
_IMAGE_PX = 224


def make_completion_request(model: str, **more: Any) -> RequestSpec:
    """Needs no chat template. model: as the server calls it."""
    body = {"model": model, "prompt": "warmup", "max_tokens": 8, "temperature": 0, **more}
    return RequestSpec(path=COMPLETION_PATH, json=body)


def make_chat_request(*, has_image: bool = False, **more: Any) -> RequestSpec:
    """One user's message, behind a picture where `has_image` says so."""
    content: object = "warmup"
    if has_image:
        image = {"type": "image_url", "image_url": {"url": make_image_url(_IMAGE_PX, _IMAGE_PX)}}
        content = [image, {"type": "text", "text": "warmup"}]
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

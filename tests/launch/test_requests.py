from __future__ import annotations

import base64
import io

import pytest

from tests.needs import load, require
from warmup.launch.requests import IMAGE_PX, make_chat_request, make_image_url


@pytest.mark.parametrize(("width", "height"), [(224, 224), (256, 256), (64, 96)])
def test_the_picture_is_one_that_pillow_reads_whole(width: int, height: int) -> None:
    image = load("PIL.Image")
    data = base64.b64decode(make_image_url(width, height).partition(",")[2], validate=True)
    opened = image.open(io.BytesIO(data))
    assert (opened.format, opened.mode, opened.size) == ("PNG", "RGB", (width, height))
    assert opened.getpixel((width - 1, height - 1)) == (0x80, 0x80, 0x80)


def test_a_processor_takes_the_chats_picture() -> None:
    """A small real one, with the sizes of the hub's own Qwen2-VL."""
    image = load("PIL.Image")
    require("python:transformers")
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
        Qwen2VLImageProcessorPil,
    )

    (message,) = make_chat_request(image_px=IMAGE_PX).json["messages"]
    url = message["content"][0]["image_url"]["url"]
    picture = image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    made = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=28 * 28 * 1280)(
        images=[picture], return_tensors="np"
    )
    assert made["image_grid_thw"].tolist() == [[1, 16, 16]]

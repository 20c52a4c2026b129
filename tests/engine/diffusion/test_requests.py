from __future__ import annotations

import base64
from typing import Any

import pytest

from warmup.engine.diffusion.params import Sampling
from warmup.engine.diffusion.routes import parse_request
from warmup.engine.messages import RequestError

DATA = b"\x89PNG of a sort"
ENCODED = base64.b64encode(DATA).decode()


def parse(body: dict[str, Any], *, lax: bool = False) -> tuple[Sampling, bytes | None]:
    return parse_request(body, accepts_image=True, output_format="png", lax=lax)


def test_openai_words_are_understood() -> None:
    body = {"prompt": "x", "size": "96x64", "n": 2, "model": "m", "user": "u", "quality": "high",
            "response_format": "b64_json", "output_format": "png", "seed": None}  # fmt: skip
    given = Sampling(prompt="x", width=96, height=64, n=2)
    assert parse(body) == (given, None)
    assert parse({"prompt": "x", "size": "auto"})[0] == Sampling(prompt="x")


def test_numbers_of_a_form_are_text() -> None:
    given, _ = parse({"prompt": "7", "num_inference_steps": "3", "guidance_scale": "2.5"}, lax=True)
    assert given == Sampling(prompt="7", num_inference_steps=3, guidance_scale=2.5)


@pytest.mark.parametrize(
    "value",
    [
        DATA,
        ENCODED,
        f"data:image/png;base64,{ENCODED}",
        [ENCODED],
        {"url": f"data:image/png;base64,{ENCODED}"},
    ],
)
@pytest.mark.parametrize("key", ["image", "image[]", "input_reference"])
def test_images_come_in_several_ways(key: str, value: object) -> None:
    assert parse({"prompt": "x", key: value})[1] == DATA


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": 5}, "prompt"),
        ({"width": "64"}, "width"),
        ({"n": 1.5}, "n"),
        ({"n": True}, "n"),
        ({"guidence_scale": 2}, "guidence_scale"),
        ({"size": "64"}, "size"),
        ({"size": "-64x64"}, "size"),
        ({"size": 64}, "size"),
        ({"size": "64x64", "width": 64}, "size"),
        ({"response_format": "url"}, "response_format"),
        ({"output_format": "webp"}, "output_format"),
        ({"image": "http://localhost/x.png"}, "image"),
        ({"image": "file:///etc/passwd"}, "image"),
        ({"image": "/etc/passwd"}, "image"),
        ({"image": "data:image/png,plain"}, "image"),
        ({"image": "!"}, "image"),
        ({"image": 5}, "image"),
        ({"image": [ENCODED, ENCODED]}, "image"),
        ({"image_path": "/etc/passwd"}, "image_path"),
    ],
)
def test_each_wrong_parameter_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(body)
    assert (caught.value.failure.kind, caught.value.failure.field) == ("validation", field)


def test_an_image_where_none_is_taken() -> None:
    with pytest.raises(RequestError, match="/v1/images/edits"):
        parse_request({"image": ENCODED}, accepts_image=False, output_format="png")

"""Time to first token of a vision-language server: its first request after READY, and later ones.

`measure_first_token(url)` is what `benchmarks/first_request.py` asks for this backend.
"""

from __future__ import annotations

import base64
import io
import json
import statistics
import time
import urllib.request
from dataclasses import dataclass

IMAGE_SIDE = 512
STEADY_RUNS = 5


@dataclass(frozen=True)
class FirstToken:
    """first_s: of the first request. steady_s: median of the next five. Both in seconds."""

    first_s: float
    steady_s: float

    @property
    def ratio(self) -> float:
        return self.first_s / self.steady_s


def measure_first_token(url: str, side: int = IMAGE_SIDE) -> FirstToken:
    """Six streamed image requests, one after the other, to a server that has just become ready.

    url: such as http://127.0.0.1:30000. side: of the square image, in pixels.
    """
    body = _make_body(side)
    taken = [_time_first_token(url, body) for _ in range(1 + STEADY_RUNS)]
    return FirstToken(taken[0], statistics.median(taken[1:]))


def _make_body(side: int) -> bytes:
    from PIL import Image

    picture = io.BytesIO()
    Image.effect_noise((side, side), 64).convert("RGB").save(picture, "PNG")
    url = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "What is to be seen?"},
    ]
    message = {"role": "user", "content": content}
    wish = {"max_tokens": 16, "ignore_eos": True, "stream": True}
    return json.dumps({"messages": [message], **wish}).encode()


def _time_first_token(url: str, body: bytes) -> float:
    """From sending to the first event with text; the rest is read, so that runs don't overlap."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    begin = time.perf_counter()
    first: float | None = None
    with opener.open(request, timeout=600) as answer:
        for _line in answer:
            # The server sends its first event when it has the first token, not before.
            first = first or time.perf_counter() - begin
    if first is None:
        raise RuntimeError("the server sent nothing")
    return first

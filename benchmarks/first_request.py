"""Is it warm? The first request after READY beside the median of the next five, warm-up on and off.

`python -m benchmarks.first_request [FAMILY …] [--model DIR] [--starts N] [-- SERVER FLAGS …]`.
Without families all of `--make-tiny`'s servable ones run. For a vision-language model the figure is
the time to the first token of a streamed answer. The aim is a ratio of at most 1.2 with warm-up on.
With several starts the figures are medians over them, the ratio that of each start's own ratio.
Flags after `--` go to every server (`--torch-compile`, `--load-format dummy`, …).

Every server starts with empty JIT caches of its own, so that "off" is what a cold runner sees.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from benchmarks.table import get_machine, median, print_table
from warmup.engine.tiny.make import make_tiny

NUM_NEXT = 5
TIMEOUT_S = 600.0
PROMPT = "a runner that is warm"


def make_image_url() -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def get_request(family: str) -> tuple[str, dict[str, Any]]:
    """Path and body: the model's own sizes and steps, a prompt that the warm-up did not use."""
    image = make_image_url()
    if family.endswith("-vl"):
        content = [
            {"type": "image_url", "image_url": {"url": image}},
            {"type": "text", "text": PROMPT},
        ]
        messages = [{"role": "user", "content": content}]
        return "/v1/chat/completions", {"messages": messages, "max_tokens": 8, "stream": True}
    if family == "wan-i2v":
        return "/v1/videos", {"prompt": PROMPT, "image": image}
    if family == "qwen-image-edit":
        return "/v1/images/edits", {"prompt": PROMPT, "image": image}
    return "/v1/images/generations", {"prompt": PROMPT}


@contextlib.contextmanager
def run_server(model: Path, flags: list[str], caches: Path) -> Iterator[int]:
    """The port of a server that is ready; its JIT caches are its own and new."""
    env = {
        **os.environ,
        "TRITON_CACHE_DIR": str(caches / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
        "DG_JIT_CACHE_DIR": str(caches / "deep_gemm"),
    }
    command = [sys.executable, "-m", "warmup.engine.serve", "--model", str(model), "--port", "0"]
    log = caches.parent / f"{caches.name}.log"
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            [*command, "--json", *flags], stdout=subprocess.PIPE, stderr=stream, env=env
        ) as server,
    ):
        assert server.stdout is not None
        try:
            said = server.stdout.readline()
            if not said:
                raise SystemExit(f"the server did not start:\n{log.read_text()}")
            yield int(json.loads(said)["port"])
        finally:
            server.terminate()


def measure(port: int, path: str, body: dict[str, Any]) -> float:
    """Seconds to the answer, or to the first event of a stream."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        begin = time.perf_counter()
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise SystemExit(f"{path} answered {response.status}: {response.read()!r}")
        if not body.get("stream"):
            response.read()
            return time.perf_counter() - begin
        _read_first_token(response)
        taken = time.perf_counter() - begin
        response.read()
        return taken


def _read_first_token(response: HTTPResponse) -> None:
    while line := response.readline():
        if b'"content"' in line and b'"content":""' not in line.replace(b" ", b""):
            return


def _warm_client(port: int) -> None:
    """Our own first connection imports codecs, which is none of the server's coldness."""
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)) as connection:
        connection.request("GET", "/health")
        connection.getresponse().read()


def measure_start(
    family: str, model: Path, flags: list[str], caches: Path
) -> tuple[float, float, float]:
    """Of one server: seconds of the first request, median of the next ones, and the ratio."""
    path, body = get_request(family)
    with run_server(model, flags, caches) as port:
        _warm_client(port)
        first = measure(port, path, body)
        steady = median([measure(port, path, body) for _ in range(NUM_NEXT)])
    return first, steady, first / steady


def measure_family(
    family: str, model: Path, flags: list[str], folder: Path, num_starts: int
) -> list[list[str]]:
    rows = []
    for mode in ("server", "off"):
        with_mode = ["--warmup-mode", mode, *flags]
        starts = [
            measure_start(family, model, with_mode, folder / f"{family}-{mode}-{i}")
            for i in range(num_starts)
        ]
        first, steady, ratio = (median(list(column)) for column in zip(*starts, strict=True))
        row = [family, mode, f"{first * 1e3:.1f}", f"{steady * 1e3:.1f}", f"{ratio:.2f}"]
        rows.append(row)
    return rows


def main(argv: list[str]) -> None:
    ours, _, flags = " ".join(argv).partition(" -- ")
    parser = argparse.ArgumentParser(prog="benchmarks.first_request")
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    parser.add_argument("--model", type=Path, help="a folder, instead of a tiny checkpoint")
    parser.add_argument("--starts", type=int, default=1, metavar="N", help="medians over so many")
    args = parser.parse_args(ours.split())
    families = args.families or [
        "sd3", "qwen-image-edit", "wan-i2v", "flux2", "qwen2.5-vl", "qwen2-vl"
    ]  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for family in families:
            model = args.model or make_tiny(family, str(folder / family))
            rows += measure_family(family, model, flags.split(), folder, args.starts)
    print(f"{get_machine()}\n`python -m benchmarks.first_request {' '.join(argv)}`\n")
    print_table(["family", "warm-up", "first ms", "next ms", "first ÷ next"], rows)


if __name__ == "__main__":
    main(sys.argv[1:])

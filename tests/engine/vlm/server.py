"""A real server for tests: `python -m warmup.engine.serve` in a child, on a free port."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

START_S = 90.0
WAIT_S = 60.0
ROOT = Path(__file__).parents[3]


class Server:
    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.log = log

    def chat(self, content: Any, timeout: float = WAIT_S, **fields: Any) -> requests.Response:
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": 4, **fields}
        return self.post(body, timeout, stream=bool(fields.get("stream")))

    def post(self, body: Any, timeout: float = WAIT_S, stream: bool = False) -> requests.Response:
        url = f"{self.url}/v1/chat/completions"
        return requests.post(url, json=body, timeout=timeout, stream=stream)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=WAIT_S)

    def get_metric(self, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def wait_for_metric(self, name: str, value: float) -> None:
        deadline = time.monotonic() + WAIT_S
        while (found := self.get_metric(name)) != value:
            assert time.monotonic() < deadline, f"{name} is {found}, not {value}"
            time.sleep(0.02)

    def get_rank_pid(self, rank: int) -> int:
        pid: int = self.get("/server_info").json()["ranks"][rank]["pid"]
        return pid

    def list_segments(self) -> list[str]:
        """Of shared memory, made by this server's HTTP process."""
        return [path.name for path in Path("/dev/shm").glob(f"warmup-ci.*.{self.process.pid}.*")]


@contextlib.contextmanager
def serve(
    model: Path, folder: Path, *flags: str, within: tuple[str, ...] = (), **env: str
) -> Iterator[Server]:
    """Ready inside the block; ended, and its shared memory gone, after it.

    within: a command that becomes the one that follows it.
    """
    log = folder / "server.log"
    argv = [
        *within,
        sys.executable,
        "-m",
        "warmup.engine.serve",
        "--model",
        str(model),
        "--port",
        "0",
    ]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*argv, "--device", "cpu", "--json", *flags],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            cwd=folder,
        )
    try:
        server = Server(process, _wait_until_ready(process, log), log)
        yield server
        assert process.poll() is None, log.read_text()
        assert server.list_segments() == []
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> int:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_S)
    line = process.stdout.readline() if readable else b""
    if not line:
        process.kill()
        raise AssertionError(f"server not ready: {log.read_text()}")
    port: int = json.loads(line)["port"]
    return port


def make_png(width: int, height: int, seed: int = 0) -> bytes:
    from PIL import Image

    noise = random.Random(seed).randbytes(width * height * 3)
    out = io.BytesIO()
    Image.frombytes("RGB", (width, height), noise).save(out, "PNG")
    return out.getvalue()


def make_part(data: bytes) -> dict[str, Any]:
    """An `image_url` part of a file's bytes."""
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def make_content(seed: int, text: str = "what is it", side: int = 64) -> list[dict[str, Any]]:
    return [make_part(make_png(side, side, seed)), {"type": "text", "text": text}]

"""uvicorn inside our own event loop, and a look at ourselves from outside it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn

PROBE_TIMEOUT_S = 10.0


@contextlib.asynccontextmanager
async def serve_http(app: Any, listener: socket.socket) -> AsyncIterator[None]:
    """uvicorn on `listener`, in this loop, without its signal handlers; up inside the block."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=1, lifespan="off"
    )
    server = _Uvicorn(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                raise RuntimeError("HTTP did not start") from task.exception()
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await task


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def probe(host: str, port: int) -> None:
    """GET /liveness of ourselves. http.client knows no proxies (sglang#28493)."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    connection = http.client.HTTPConnection(local, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", "/liveness")
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != 200:
        raise RuntimeError(f"/liveness answers {status}")

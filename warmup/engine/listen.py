"""uvicorn inside our own event loop, and a look at ourselves from outside it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from warmup.engine.gate import OWN_HEADER, OWN_TOKEN
from warmup.engine.messages import Failure, FailureKind, RequestError

PROBE_TIMEOUT_S = 10.0
# The whole head of a request, from the connection or from its first byte.
HEAD_DEADLINE_S = 10.0
# What the client still sends of a body whose answer it has had already.
LINGER_S = 5.0


@contextlib.asynccontextmanager
async def serve_http(app: Any, listener: socket.socket) -> AsyncIterator[None]:
    """uvicorn on `listener`, in this loop, without its signal handlers; up inside the block."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=1, lifespan="off",
        http=_Connection,
    )  # fmt: skip
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


class _Connection(H11Protocol):
    """Hangs up on clients that keep it waiting, for which uvicorn has no limit.

    Only where nothing of ours waits with them: a body that is being read is `Admission`'s to time.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._look(HEAD_DEADLINE_S)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look(HEAD_DEADLINE_S)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look(LINGER_S)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._set_deadline(None)

    def _look(self, limit_s: float) -> None:
        theirs = self.conn.their_state
        is_answered = self.cycle is not None and self.cycle.response_complete
        # After an answer it is idle for uvicorn's own keep-alive limit, until its next byte.
        is_in_head = theirs is h11.IDLE and (not is_answered or bool(self.conn.trailing_data[0]))
        if not is_in_head and not (theirs is h11.SEND_BODY and is_answered):
            self._set_deadline(None)
        elif self._deadline is None:
            self._set_deadline(limit_s)

    def _set_deadline(self, limit_s: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None
        if limit_s is not None:
            self._deadline = self.loop.call_later(limit_s, self.transport.abort)


def probe(host: str, port: int) -> None:
    """GET /liveness of ourselves. http.client knows no proxies (sglang#28493)."""
    connection = http.client.HTTPConnection(_get_local(host), port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", "/liveness")
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != 200:
        raise RuntimeError(f"/liveness answers {status}")


async def post(host: str, port: int, path: str, body: dict[str, Any]) -> None:
    """A warm-up request to ourselves, its answer read to the end; cancelling it hangs up.

    Raises `RequestError` for every answer but a 200, and for a stream that broke off.
    """
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"{OWN_HEADER}: {OWN_TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(_get_local(host), port)
    try:
        writer.write(head.encode() + content)
        answer = await reader.read()
    except OSError as error:
        raise RequestError(Failure("internal", f"{path} hung up: {error}")) from error
    finally:
        writer.close()
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise RequestError(_read_failure(answer))
    if body.get("stream") and b"data: [DONE]" not in answer:
        raise RequestError(Failure("internal", f"{path} broke off: {answer[-500:]!r}"))


def _read_failure(answer: bytes) -> Failure:
    """What `failures.error_response` made of a failure."""
    try:
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        kind, message = error["type"].removesuffix("_error"), error["message"]
    except (ValueError, KeyError, TypeError):
        return Failure("internal", f"no answer of ours: {answer[:500]!r}")
    return Failure(kind if kind in get_args(FailureKind) else "internal", message)


def _get_local(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)

"""The HTTP process's side of the local socket to rank 0. Lives on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from warmup.engine.messages import Broken, Failure, RankReply, Ready, Request, RequestError, Stats

_log = logging.getLogger("warmup.engine")
_GONE = Failure("unavailable", "the engine is not running")


class RankClient:
    """Sends requests, hands out their replies, and wakes every waiting call when the ranks die."""

    def __init__(
        self, connection: Connection, request_timeout_s: float, copy_first: bool = False
    ) -> None:
        self._connection = connection
        self._request_timeout_s = request_timeout_s
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, asyncio.Queue[RankReply]] = {}
        # One sender: messages keep their order, and a full pipe never blocks the event loop.
        self._sender = ThreadPoolExecutor(1, "to-rank-0")
        self._lost: Failure | None = None
        self.started: asyncio.Future[Ready | Broken] = self._loop.create_future()
        self.stats: dict[str, float] = {}
        self._copy_first = copy_first
        self._first_lock = asyncio.Lock()
        threading.Thread(target=self._read, name="from-rank-0", daemon=True).start()

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError, RuntimeError):  # Runtime: the loop has closed
            while True:
                message = self._connection.recv()
                self._loop.call_soon_threadsafe(self._dispatch, message)

    def _dispatch(self, message: object) -> None:
        if isinstance(message, RankReply):
            if message.id in self._waiting:
                self._waiting[message.id].put_nowait(message)
        elif isinstance(message, Stats):
            self.stats = message.values
        elif isinstance(message, (Ready, Broken)) and not self.started.done():
            self.started.set_result(message)

    def lose(self, message: str) -> None:
        """The ranks are gone: every waiting and every later call fails with `message`."""
        self._lost = Failure("unavailable", message)
        for request_id, replies in self._waiting.items():
            replies.put_nowait(RankReply(request_id, failure=self._lost))

    async def _send(self, request: Request) -> None:
        try:
            await self._loop.run_in_executor(self._sender, self._connection.send, request)
        except OSError as error:
            raise RequestError(self._lost or _GONE) from error

    async def stream(
        self, kind: str, payload: Any, *, warmup: bool = False
    ) -> AsyncGenerator[Any, None]:
        """The data of each reply, the final one's last. Leaving early aborts the request.

        Raises `RequestError` for a failure that the ranks answer, for their death, and after
        `--request-timeout` without a reply.
        """
        if self._lost is not None:
            raise RequestError(self._lost)
        request = Request(uuid.uuid4().hex, kind, payload, warmup)
        replies: asyncio.Queue[RankReply] = asyncio.Queue()
        self._waiting[request.id] = replies
        finished = False
        try:
            await self._send(request)
            while not finished:
                reply = await asyncio.wait_for(replies.get(), self._request_timeout_s)
                finished = reply.final
                if reply.failure is not None:
                    finished = True
                    raise RequestError(reply.failure)
                yield reply.data
        except asyncio.TimeoutError:
            raise RequestError(
                Failure("timeout", f"no answer in {self._request_timeout_s:g} s")
            ) from None
        finally:
            del self._waiting[request.id]
            if not finished and self._lost is None:
                self._sender.submit(self._abort, request.id)

    def _abort(self, request_id: str) -> None:
        with contextlib.suppress(OSError):  # the ranks went first
            self._connection.send(Request(request_id, "abort"))

    async def call(self, kind: str, payload: Any = None, *, warmup: bool = False) -> Any:
        """The data of the final reply."""
        last = None
        async with contextlib.aclosing(self.stream(kind, payload, warmup=warmup)) as replies:
            async for data in replies:
                last = data
        return last

    async def warm_first(self, run_copy: Callable[[], Awaitable[Any]]) -> None:
        """`--warmup-mode request`: before the first real request its copy runs, once.

        `run_copy` sends the copy with `warmup=True`. Requests that come meanwhile wait for it. A
        copy that fails is left to the request itself to tell.
        """
        if not self._copy_first:
            return
        async with self._first_lock:
            if self._copy_first:
                self._copy_first = False
                try:
                    await run_copy()
                except RequestError as error:
                    _log.warning("warm-up by a copy of the first request failed: %s", error)

    async def stop(self) -> None:
        """Ask the ranks to end. Their exit says that they did."""
        with contextlib.suppress(RequestError):
            await self._send(Request("stop", "stop"))

    def close(self) -> None:
        self._connection.close()
        self._sender.shutdown(wait=False, cancel_futures=True)

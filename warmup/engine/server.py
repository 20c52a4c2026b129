"""One server inside its event loop: ranks, HTTP, warm-up, and what follows when one ends."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from warmup.engine.args import ServerArgs
from warmup.engine.backends import Backend, Frontend
from warmup.engine.client import RankClient
from warmup.engine.launcher import RankProcesses
from warmup.engine.messages import Broken
from warmup.engine.states import State, StateMachine
from warmup.engine.warmup import WarmupFailed, WarmupReport, run_warmups
from warmup.version import __version__
from warmup.words.errors import EXIT_FAILED

_log = logging.getLogger("warmup.engine")
READY_LINE = "The server is fired up and ready to roll!"


class StartFailed(Exception):
    """Start-up ends here, with this message."""


class EngineServer:
    """Built outside the event loop, lives inside it."""

    client: RankClient

    def __init__(
        self, args: ServerArgs, backend: Backend, frontend: Frontend, listener: socket.socket
    ) -> None:
        self.args = args
        self.backend = backend
        self.frontend = frontend
        self.listener = listener
        self.host, self.port = listener.getsockname()[:2]
        self.report = WarmupReport(args.mode)
        self.model_facts: dict[str, Any] = {}
        self._signum: int | None = None

    async def run(self) -> int:
        """The exit status: 128 + signal, or 1 if the server never became ready."""
        loop = asyncio.get_running_loop()
        self.states = StateMachine()
        self._signalled = asyncio.Event()
        self._dead: asyncio.Future[str] = loop.create_future()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self._on_signal, signum)
        self.processes = RankProcesses(self._on_rank_death)
        try:
            connection = await self.processes.start(self.args, self.backend)
            copy_first = self.args.mode == "request"
            self.client = RankClient(connection, self.args.request_timeout, copy_first)
            async with AsyncExitStack() as stack:
                return await self._run(stack)
        finally:
            await self._end_ranks()

    def _on_signal(self, signum: int) -> None:
        self._signum = signum
        self._signalled.set()

    def _on_rank_death(self, message: str) -> None:
        _log.error("%s", message)
        self.states.fail(message)
        self.client.lose(message)
        if not self._dead.done():
            self._dead.set_result(message)

    async def _run(self, stack: AsyncExitStack) -> int:
        try:
            if await self._until_signal(self._until_death(self._start(stack))):
                await self._until_signal(self._serve())
        except StartFailed as error:
            _log.error("%s", error)
            self.states.fail(str(error))
            return EXIT_FAILED
        assert self._signum is not None
        _log.info("%s: ending", signal.Signals(self._signum).name)
        self.client.lose("the server is shutting down")
        return 128 + self._signum

    async def _until_signal(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run `work`; False if a signal came first."""
        task = asyncio.create_task(work)
        signalled = asyncio.create_task(self._signalled.wait())
        try:
            await asyncio.wait((task, signalled), return_when=asyncio.FIRST_COMPLETED)
            if self._signum is None:
                await task
            return self._signum is None
        finally:
            task.cancel()
            signalled.cancel()
            await asyncio.gather(task, signalled, return_exceptions=True)

    async def _until_death(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`. Raises `StartFailed` as soon as a rank dies, whatever was waited for."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait((task, self._dead), return_when=asyncio.FIRST_COMPLETED)
            if self._dead.done():
                raise StartFailed(self._describe_death())
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _describe_death(self) -> str:
        if self.report.total:
            return f"Server warmup failed; aborting startup: {self._dead.result()}"
        return f"Server start failed: {self._dead.result()}"

    async def _start(self, stack: AsyncExitStack) -> None:
        """STARTING → … → READY. Raises `StartFailed`."""
        started = await self.client.started
        if isinstance(started, Broken):
            raise StartFailed(f"Server start failed: {started.message}")
        self.model_facts = started.info
        await self._go_live(stack)
        self.states.advance(State.WARMING)
        try:
            if self.args.mode == "server" or self.args.warmup_resolutions:
                warmups = self.frontend.get_warmups()
                address = (self.host, self.port)
                await run_warmups(self.client, address, warmups, self.report, self.args)
        except WarmupFailed as error:
            raise StartFailed(f"Server warmup failed; aborting startup: {error}") from None
        self._announce()
        self.states.advance(State.READY)

    async def _go_live(self, stack: AsyncExitStack) -> None:
        from warmup.engine.http import create_app
        from warmup.engine.listen import probe, serve_http

        app = create_app(
            self.states, self.client, self.args, self.frontend.model_card,
            self._get_model_info, self._get_server_info,
        )  # fmt: skip
        self.frontend.add_routes(app, self.client)
        await stack.enter_async_context(serve_http(app, self.listener))
        self.states.advance(State.LIVE)
        _log.info("HTTP is up on http://%s:%d", self.host, self.port)
        await asyncio.to_thread(probe, self.host, self.port)

    def _announce(self) -> None:
        print(READY_LINE, file=sys.stderr, flush=True)
        if self.args.json:
            document = {"schema": 1, "state": "ready", "host": self.host, "port": self.port}
            print(json.dumps(document), flush=True)

    async def _serve(self) -> None:
        """READY; after a rank's death UNHEALTHY, and saying so, until a signal."""
        await asyncio.wait((self._dead,))  # awaited itself, it would be cancelled with us
        # The other ranks can do nothing without it; their memory is better free.
        await self.processes.stop(grace_s=0)
        await asyncio.Event().wait()

    async def _end_ranks(self) -> None:
        if hasattr(self, "client"):
            if not self._dead.done():
                await self.client.stop()
            self.client.lose("the server has ended")
        await self.processes.stop()
        if hasattr(self, "client"):
            self.client.close()

    def _get_model_info(self) -> dict[str, Any]:
        return {
            "model_path": self.args.model,
            "backend": self.backend.name,
            **self.frontend.info,
            **self.model_facts,
        }

    def _get_server_info(self) -> dict[str, Any]:
        from msgspec import to_builtins

        return {
            "version": __version__,
            "state": self.states.state.value,
            "error": self.states.error,
            "degraded": self.report.degraded,
            "warmup": self.report.to_json(),
            "ranks": [{"rank": i, "pid": pid} for i, pid in enumerate(self.processes.pids)],
            "args": to_builtins(self.args),
        }

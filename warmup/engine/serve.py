"""`python -m warmup.engine.serve`: one server, from its arguments to its end.

Order: arguments → ranks → HTTP up (LIVE) → liveness probe of itself → warm-up (WARMING) → READY.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from warmup.engine import flags
from warmup.engine.args import ServerArgs
from warmup.engine.frontend import Frontend
from warmup.engine.registry import Backend, get_backend
from warmup.errors import EXIT_FAILED, EXIT_OK, HostError, WarmupError

_log = logging.getLogger("warmup.engine")
READY_LINE = "The server is fired up and ready to roll!"
PROBE_TIMEOUT_S = 10.0


def main(argv: list[str]) -> int:
    """Serve until a signal (128 + its number) or a failed start (1); `--make-tiny` just makes."""
    try:
        args, tiny = flags.parse(argv)
        if tiny is not None:
            return _make_tiny(*tiny, as_json=args.json)
        backend = get_backend(args.model)
        frontend = backend.make_frontend(args)
        with contextlib.closing(frontend), contextlib.closing(_bind(args)) as listener:
            _set_up_logging(args.log_level)
            return asyncio.run(Server(args, backend, frontend, listener).run())
    except WarmupError as error:
        print(error.render(), file=sys.stderr)
        return error.exit_status


def _make_tiny(family: str, folder: str, as_json: bool) -> int:
    from warmup.engine.tiny.registry import make_tiny

    path = make_tiny(family, folder)
    document = {"schema": 1, "family": family, "path": str(path)}
    print(json.dumps(document) if as_json else path)
    return EXIT_OK


def _set_up_logging(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )


def _bind(args: ServerArgs) -> socket.socket:
    """Bound before any model is loaded, listening only when HTTP is up."""
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((args.host, args.port))
    except OSError as error:
        listener.close()
        raise HostError(
            f"cannot listen on {args.host}:{args.port}", cause=error.strerror, hint="--port 0"
        ) from None
    return listener


class Server:
    """One run. Built outside the event loop, lives inside it."""

    def __init__(
        self, args: ServerArgs, backend: Backend, frontend: Frontend, listener: socket.socket
    ) -> None:
        self.args = args
        self.backend = backend
        self.frontend = frontend
        self.listener = listener
        self.host, self.port = listener.getsockname()[:2]
        self.signum: int | None = None
        self.model_facts: dict[str, Any] = {}

    async def run(self) -> int:
        from warmup.engine.client import RankClient
        from warmup.engine.launcher import RankProcesses
        from warmup.engine.states import StateMachine
        from warmup.engine.warmup import WarmupReport

        self.states = StateMachine()
        self.report = WarmupReport(self.args.mode)
        self.stopped = asyncio.Event()
        self.dead: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.processes = RankProcesses(self._on_rank_death)
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, self._on_signal, signum)
        try:
            connection = await self.processes.start(self.args, self.backend)
            self.client = RankClient(
                connection, self.args.request_timeout, copy_first=self.args.mode == "request"
            )
            return await self._race(self._start_and_serve())
        finally:
            await self._end_ranks()

    def _on_signal(self, signum: int) -> None:
        self.signum = signum
        self.stopped.set()

    def _on_rank_death(self, message: str) -> None:
        _log.error("%s", message)
        self.states.fail(message)
        self.client.lose(message)
        if not self.dead.done():
            self.dead.set_result(message)

    async def _race(self, work: Any) -> int:
        """Run `work` until it is done or a signal comes."""
        task = asyncio.create_task(work)
        signalled = asyncio.create_task(self.stopped.wait())
        try:
            await asyncio.wait((task, signalled), return_when=asyncio.FIRST_COMPLETED)
            if self.signum is not None:
                _log.info("%s: ending", signal.Signals(self.signum).name)
                return 128 + self.signum
            return await task
        finally:
            for each in (task, signalled):
                each.cancel()
            await asyncio.gather(task, signalled, return_exceptions=True)

    async def _start_and_serve(self) -> int:
        if (problem := await self._wait_for_ranks()) is not None:
            return self._give_up(f"Server start failed: {problem}")
        async with _http(self._make_app(), self.listener):
            from warmup.engine.states import State

            self.states.advance(State.LIVE)
            _log.info("HTTP is up on http://%s:%d", self.host, self.port)
            await asyncio.to_thread(_probe, self.host, self.port)
            self.states.advance(State.WARMING)
            if (problem := await self._warm()) is not None:
                return self._give_up(f"Server warmup failed; aborting startup: {problem}")
            self.states.advance(State.READY)
            self._announce()
            await self.dead
            await self._end_ranks()
            await asyncio.Event().wait()  # UNHEALTHY, and saying so, until a signal
        return EXIT_OK

    async def _wait_for_ranks(self) -> str | None:
        """None when every rank has loaded; else what went wrong."""
        from warmup.engine.messages import Broken

        await asyncio.wait((self.client.started, self.dead), return_when=asyncio.FIRST_COMPLETED)
        if not self.client.started.done():
            return self.dead.result()
        started = self.client.started.result()
        if isinstance(started, Broken):
            return started.message
        self.model_facts = started.info
        return None

    async def _warm(self) -> str | None:
        """None when warm (or degraded, where that may be); else why start-up must end."""
        from warmup.engine.warmup import WarmupFailed, run_warmups

        if self.args.warmup_resolutions == () and self.args.mode != "server":
            return None
        warmups = self.frontend.get_warmups() if self.args.mode != "off" else []
        try:
            await run_warmups(self.client, warmups, self.report, self.args)
        except WarmupFailed as error:
            return str(error)
        return self.dead.result() if self.dead.done() else None

    def _give_up(self, message: str) -> int:
        _log.error("%s", message)
        self.states.fail(message)
        return EXIT_FAILED

    def _announce(self) -> None:
        _log.info(READY_LINE)
        if self.args.json:
            document = {"schema": 1, "state": "ready", "host": self.host, "port": self.port}
            print(json.dumps(document), flush=True)

    async def _end_ranks(self) -> None:
        if hasattr(self, "client") and not self.dead.done():
            await self.client.stop()
        await self.processes.stop()
        if hasattr(self, "client"):
            self.client.lose("the server has ended")
            self.client.close()

    def _make_app(self) -> Any:
        from warmup.engine.http import create_app

        app = create_app(
            self.states, self.client, self.args.hold_timeout, self.args.readiness_compat,
            self._get_model_info, self._get_server_info,
        )  # fmt: skip
        self.frontend.add_routes(app, self.client)
        return app

    def _get_model_info(self) -> dict[str, Any]:
        return {
            "model_path": self.args.model,
            "backend": self.backend.name,
            **self.frontend.info,
            **self.model_facts,
        }

    def _get_server_info(self) -> dict[str, Any]:
        from msgspec import to_builtins

        from warmup.version import __version__

        return {
            "version": __version__,
            "state": self.states.state.value,
            "error": self.states.error,
            "degraded": self.report.degraded,
            "warmup": self.report.to_json(),
            "ranks": [{"rank": i, "pid": pid} for i, pid in enumerate(self.processes.pids)],
            "args": to_builtins(self.args),
        }


@contextlib.asynccontextmanager
async def _http(app: Any, listener: socket.socket) -> Any:
    """uvicorn on `listener`, in this loop, with our signal handlers; up inside the block."""
    import uvicorn

    class Uvicorn(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=1, lifespan="off"
    )
    server = Uvicorn(config)
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


def _probe(host: str, port: int) -> None:
    """GET /liveness of ourselves. http.client knows no proxies (sglang#28493)."""
    import http.client

    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    connection = http.client.HTTPConnection(local, port, timeout=PROBE_TIMEOUT_S)
    started = time.monotonic()
    try:
        connection.request("GET", "/liveness")
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != 200:
        raise RuntimeError(f"/liveness answers {status}")
    _log.info("liveness probe took %.3f s", time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

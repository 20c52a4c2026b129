"""The HTTP face that every backend shares: health, facts, metrics, and the gate.

The gate holds every path but the open ones until READY: held, not rejected, and not for ever.
Paths match exactly; websockets pass the same gate (they once went around it, sglang#33787).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from warmup.engine.client import RankClient
from warmup.engine.messages import Failure, RequestError
from warmup.engine.states import State, StateMachine

OPEN_PATHS = frozenset(
    ("/liveness", "/health", "/health_generate", "/model_info", "/server_info", "/metrics")
)
RETRY_AFTER_S = 5
PING_TIMEOUT_S = 20.0
# Warm-up requests that we send to ourselves carry it: they pass before READY, uncounted.
OWN_HEADER = "x-warmup-token"
OWN_TOKEN = secrets.token_hex()


def is_own(scope: Scope) -> bool:
    """Did this process send the request itself, to warm up?"""
    sent = dict(scope["headers"]).get(OWN_HEADER.encode(), b"")
    return secrets.compare_digest(sent, OWN_TOKEN.encode())


class Metrics:
    """What /metrics shows of the user's requests. Warm-ups are no requests of a user."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.held = 0
        self.rejected = 0

    def render(self, state: State, stats: dict[str, float], num_waiting: int) -> str:
        """Prometheus text format 0.0.4. stats: the runner's own. num_waiting: sent to the ranks."""
        lines = ["# TYPE warmup_state gauge"]
        lines += [f'warmup_state{{state="{each.value}"}} {int(each is state)}' for each in State]
        lines.append("# TYPE requests_total counter")
        for (path, status), count in sorted(self.requests.items()):
            lines.append(f'requests_total{{path="{path}",status="{status}"}} {count}')
        lines.append("# TYPE request_seconds_total counter")
        for path, seconds in sorted(self.seconds.items()):
            lines.append(f'request_seconds_total{{path="{path}"}} {seconds:.6f}')
        lines += ["# TYPE requests_held gauge", f"requests_held {self.held}"]
        lines += ["# TYPE requests_waiting gauge", f"requests_waiting {num_waiting}"]
        lines += ["# TYPE requests_rejected_total counter"]
        lines += [f"requests_rejected_total {self.rejected}"]
        for name, value in sorted(stats.items()):
            lines += [f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"]
            lines += [f"{name} {value:g}"]
        return "\n".join(lines) + "\n"


class Gate:
    """ASGI middleware. Before READY a request waits up to `hold_s`, then 503 with Retry-After."""

    def __init__(self, app: ASGIApp, states: StateMachine, metrics: Metrics, hold_s: float) -> None:
        self.app = app
        self.states = states
        self.metrics = metrics
        self.hold_s = hold_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS or is_own(scope):
            await self.app(scope, receive, send)
            return
        if self.states.state is not State.READY:
            self.metrics.held += 1
            try:
                await self.states.wait_settled(self.hold_s)
            finally:
                self.metrics.held -= 1
        if self.states.state is State.READY:
            await self._count(scope, receive, send)
        else:
            self.metrics.rejected += 1
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()  # its `connect`, without which the protocol allows no answer
            await send({"type": "websocket.close", "code": 1013, "reason": "not ready"})
            return
        error = self.states.error or f"the server is {self.states.state.value}, not ready"
        response = error_response(Failure("unavailable", error))
        await response(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            # The route, not the path: a client must not be able to invent labels.
            path = getattr(scope.get("route"), "path", "unknown")
            self.metrics.requests[(path, status)] += 1
            self.metrics.seconds[path] += time.monotonic() - started


def get_status(failure: Failure) -> int:
    """The HTTP status of a failure: the user's 400, not now 503, ours 500."""
    return {"validation": 400, "unavailable": 503, "timeout": 503}.get(failure.kind, 500)


def error_response(failure: Failure) -> JSONResponse:
    """OpenAI's error object; `param` is the field."""
    status = get_status(failure)
    kind = "invalid_request_error" if status == 400 else f"{failure.kind}_error"
    error = {"message": failure.message, "type": kind, "param": failure.field, "code": status}
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
    return JSONResponse({"error": error}, status, headers)


async def _on_request_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error_response(error.failure)


async def _on_validation_error(_request: Request, error: Exception) -> Response:
    """FastAPI's own 422 becomes the 400 with a field that OpenAI's clients know."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query")]
    return error_response(Failure("validation", str(first["msg"]), ".".join(where) or None))


async def _on_bug(_request: Request, error: Exception) -> Response:
    """Starlette logs the traceback; the caller gets the shape it knows."""
    return error_response(Failure("internal", f"{type(error).__name__}: {error}"))


def create_app(
    states: StateMachine,
    client: RankClient,
    hold_s: float,
    compat: bool,
    model_name: str,
    get_model_info: Callable[[], dict[str, Any]],
    get_server_info: Callable[[], dict[str, Any]],
) -> FastAPI:
    """The app with the shared paths; the frontend adds its own. `compat`: --readiness-compat."""
    app = FastAPI(title="warmup-ci reference engine", docs_url=None, redoc_url=None)
    metrics = Metrics()
    app.add_middleware(Gate, states=states, metrics=metrics, hold_s=hold_s)
    app.add_exception_handler(RequestError, _on_request_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(Exception, _on_bug)
    _add_health_routes(app, states, client, compat)
    model = {"id": model_name, "object": "model", "created": int(time.time()),
             "owned_by": "warmup-ci"}  # fmt: skip

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model]}

    @app.get("/model_info")
    async def model_info() -> dict[str, Any]:
        return get_model_info()

    @app.get("/server_info")
    async def server_info() -> dict[str, Any]:
        return get_server_info()

    @app.get("/metrics")
    async def show_metrics() -> Response:
        text = metrics.render(states.state, client.stats, client.num_waiting)
        return PlainTextResponse(text)

    return app


def _add_health_routes(
    app: FastAPI, states: StateMachine, client: RankClient, compat: bool
) -> None:
    @app.get("/liveness")
    async def liveness() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/health")
    async def health() -> Response:
        return _get_health(states, compat)

    @app.get("/health_generate")
    async def health_generate() -> Response:
        if states.state is State.READY and not await _is_answering(client):
            body = {"status": "unhealthy", "error": "the ranks do not answer"}
            return JSONResponse(body, 503)
        return _get_health(states, compat=False)


def _get_health(states: StateMachine, compat: bool) -> Response:
    if states.state is State.READY:
        return JSONResponse({"status": "ok"})
    if states.state in (State.LIVE, State.WARMING):
        return JSONResponse({"status": "warming_up"}, 200 if compat else 503)
    return JSONResponse({"status": "unhealthy", "error": states.error}, 503)


async def _is_answering(client: RankClient) -> bool:
    """Ranks at work on a request answer no ping until it is done; they are watched all the same."""
    if client.num_waiting:
        return True
    try:
        await asyncio.wait_for(client.call("ping"), PING_TIMEOUT_S)
    except (RequestError, asyncio.TimeoutError):
        return False
    return True

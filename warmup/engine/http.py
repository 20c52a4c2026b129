"""The HTTP face that every backend shares: health, facts, metrics, behind admission and gate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from warmup.engine.admission import Admission
from warmup.engine.args import ServerArgs
from warmup.engine.client import RankClient
from warmup.engine.failures import add_error_handlers
from warmup.engine.gate import Gate
from warmup.engine.messages import RequestError
from warmup.engine.states import Metrics, State, StateMachine

PING_TIMEOUT_S = 20.0


def create_app(
    states: StateMachine,
    client: RankClient,
    args: ServerArgs,
    model_card: dict[str, Any],
    get_model_info: Callable[[], dict[str, Any]],
    get_server_info: Callable[[], dict[str, Any]],
) -> FastAPI:
    """The app with the shared paths; the frontend adds its own. model_card: joins /v1/models."""
    app = FastAPI(title="warmup-ci reference engine", docs_url=None, redoc_url=None)
    metrics = Metrics()
    app.add_middleware(Gate, states=states, metrics=metrics, hold_s=args.hold_timeout)
    app.add_middleware(Admission, host=args.host)  # the last one added is the first to look
    add_error_handlers(app)
    _add_health_routes(app, states, client, args.readiness_compat)
    model = {"id": args.model_name, "object": "model", "created": int(time.time()),
             "owned_by": "warmup-ci", **model_card}  # fmt: skip

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

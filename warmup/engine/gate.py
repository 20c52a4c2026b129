"""The gate holds every path but the open ones until READY: held, not rejected, and not for ever.

Paths match exactly; websockets pass the same gate (they once went around it, sglang#33787).
"""

from __future__ import annotations

import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from warmup.engine.failures import error_response
from warmup.engine.messages import Failure
from warmup.engine.states import Metrics, State, StateMachine

OPEN_PATHS = frozenset(
    ("/liveness", "/health", "/health_generate", "/model_info", "/server_info", "/metrics")
)
# Warm-up requests that we send to ourselves carry it: they pass before READY, uncounted.
OWN_HEADER = "x-warmup-token"
OWN_TOKEN = secrets.token_hex()


def is_own(scope: Scope) -> bool:
    """Did this process send the request itself, to warm up?"""
    sent = dict(scope["headers"]).get(OWN_HEADER.encode(), b"")
    return secrets.compare_digest(sent, OWN_TOKEN.encode())


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

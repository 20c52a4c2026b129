"""The gate and the shared paths, over the app alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from warmup.engine.args import ServerArgs
from warmup.engine.client import RankClient
from warmup.engine.gate import OPEN_PATHS, OWN_HEADER, OWN_TOKEN
from warmup.engine.http import create_app
from warmup.engine.states import State, StateMachine

Call = Callable[..., Awaitable[tuple[int, dict[str, str], Any]]]


class _Client:
    """No ranks: the paths under test never reach them."""

    stats: dict[str, float] = {}  # noqa: RUF012
    num_waiting = 1


async def call(
    app: Any, path: str, kind: str = "http", token: str | None = None
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON; for a websocket the code of its close."""
    sent: list[dict[str, Any]] = []
    first = {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request"}

    async def receive() -> dict[str, Any]:
        return first

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    own = [] if token is None else [(OWN_HEADER.encode(), token.encode())]
    scope = {"type": kind, "path": path, "raw_path": path.encode(), "query_string": b"",
             "headers": own, "method": "GET", "subprotocols": []}  # fmt: skip
    await app(scope, receive, send)
    if kind == "websocket":
        return sent[0]["code"], {}, sent[0]["type"]
    headers = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    is_json = headers["content-type"] == "application/json"
    return sent[0]["status"], headers, json.loads(body) if is_json else body


def run(states: tuple[State, ...], work: Callable[[Any, StateMachine], Awaitable[None]], *,
        hold_s: float = 0.01, compat: bool = False) -> None:  # fmt: skip
    async def main() -> None:
        machine = StateMachine()
        for state in states:
            machine.advance(state)
        client = cast(RankClient, _Client())
        args = ServerArgs(model="m", hold_timeout=hold_s, readiness_compat=compat)
        app = create_app(machine, client, args, {}, dict, dict)
        await asyncio.wait_for(work(app, machine), 20)

    asyncio.run(main())


WARMING = (State.LIVE, State.WARMING)
READY = (*WARMING, State.READY)


def test_open_paths_answer_while_warming() -> None:
    async def work(app: Any, machine: StateMachine) -> None:
        for path in OPEN_PATHS:
            status, _, body = await call(app, path)
            if path.startswith("/health"):
                assert (status, body) == (503, {"status": "warming_up"})
            else:
                assert status == 200

    run(WARMING, work)


def test_compat_says_healthy_while_warming() -> None:
    async def work(app: Any, machine: StateMachine) -> None:
        assert (await call(app, "/health"))[0] == 200
        assert (await call(app, "/health_generate"))[0] == 503

    run(WARMING, work, compat=True)


@pytest.mark.parametrize("path", ["/v1/models", "/health/", "/healthz", "/", "/openapi.json"])
def test_everything_else_is_held_and_then_refused(path: str) -> None:
    async def work(app: Any, machine: StateMachine) -> None:
        status, headers, body = await call(app, path)
        assert status == 503
        assert int(headers["retry-after"]) > 0
        assert "warming" in body["error"]["message"]

    run(WARMING, work)


def test_our_own_requests_pass_before_ready_and_are_not_counted() -> None:
    async def work(app: Any, machine: StateMachine) -> None:
        assert (await call(app, "/v1/models", token="a guess"))[0] == 503
        assert (await call(app, "/v1/models", token=""))[0] == 503
        assert (await call(app, "/v1/models", token=OWN_TOKEN))[0] == 200
        assert "requests_total{" not in (await call(app, "/metrics"))[2].decode()

    run(WARMING, work)


def test_what_is_held_is_answered_when_ready() -> None:
    async def work(app: Any, machine: StateMachine) -> None:
        held = asyncio.create_task(call(app, "/v1/models"))
        while b"requests_held 1" not in (await call(app, "/metrics"))[2]:
            await asyncio.sleep(0.001)
        assert not held.done()
        machine.advance(State.READY)
        assert (await held)[0] == 200

    run(WARMING, work, hold_s=20)


def test_what_is_held_is_refused_when_start_fails() -> None:
    async def work(app: Any, machine: StateMachine) -> None:
        held = asyncio.create_task(call(app, "/v1/models"))
        while b"requests_held 1" not in (await call(app, "/metrics"))[2]:
            await asyncio.sleep(0.001)
        machine.fail("rank 1 ended")
        status, _, body = await held
        assert (status, body["error"]["message"]) == (503, "rank 1 ended")

    run(WARMING, work, hold_s=20)


def test_websockets_pass_the_same_gate() -> None:
    async def work(app: Any, machine: StateMachine) -> None:
        assert await call(app, "/ws", "websocket") == (1013, {}, "websocket.close")

    run(WARMING, work)


def test_unhealthy_refuses_at_once() -> None:
    async def work(app: Any, machine: StateMachine) -> None:
        machine.fail("rank 1 ended")
        assert (await call(app, "/v1/models"))[0] == 503
        assert (await call(app, "/liveness"))[0] == 200
        status, _, body = await call(app, "/health")
        assert (status, body["error"]) == (503, "rank 1 ended")

    run(READY, work, hold_s=20)


def test_labels_are_routes_never_what_a_client_wrote() -> None:
    async def work(app: Any, machine: StateMachine) -> None:
        await call(app, '/x"} evil 1')
        await call(app, "/v1/models")
        metrics = (await call(app, "/metrics"))[2].decode()
        assert 'requests_total{path="/v1/models",status="200"} 1' in metrics
        assert 'requests_total{path="unknown",status="404"} 1' in metrics

    run(READY, work)

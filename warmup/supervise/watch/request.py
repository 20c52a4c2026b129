"""Send the one real request of a warm-up while the server is being watched.

A server may die of it: vLLM with an odd head size answers health 200 and falls over at its first
request. So the leader, the workers and the log are looked at ten times a second, not when the
answer fails to come.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from warmup.launch.api import RequestSpec
from warmup.supervise.log.watch import LogWatch
from warmup.supervise.protocols import Waiter, Watched
from warmup.supervise.watch.exchange import Exchange, ExchangeError, Reply
from warmup.supervise.watch.liveness import Liveness
from warmup.words.errors import WarmupError
from warmup.words.secrets import Redactor

MAX_BODY_BYTES = 64 * 1024 * 1024
_POLL_S = 0.1
_STEP_S = 0.05
_SETTLE_S = 0.25  # a process that falls over behind its answer takes this long to be seen dead
_EXPLAIN_S = 1.0  # how long a lost connection waits for the exit that explains it


@dataclass(frozen=True)
class Answer:
    """What came back, whole; whether it is a good answer is the engine adapter's to say."""

    status: int
    body: bytes
    seconds: float


def send_request(
    server: Watched,
    waiter: Waiter,
    *,
    port: int,
    request: RequestSpec,
    timeout_s: float,
    log_watch: LogWatch,
    redactor: Redactor | None = None,
    on_poll: Callable[[], None] = lambda: None,
) -> Answer:
    """Send `request` to 127.0.0.1 and return the answer, whatever its status.

    `timeout_s` is for all of it, an answer that drips included. Raises `WarmupError` when the
    leader or a worker dies, the log holds a crash pattern, the time is over, the connection
    fails or the answer is larger than `MAX_BODY_BYTES`; `Cancelled` when the waiter says so.
    """
    began = time.monotonic()
    with (
        Liveness(server, log_watch) as liveness,
        _open_exchange(port, request) as exchange,
    ):
        try:
            reply = _exchange(exchange, liveness, waiter, began + timeout_s, on_poll)
            seconds = time.monotonic() - began
            _settle(liveness, waiter)
        except _Failed as failure:
            raise WarmupError(
                f"the warm-up request {request.method} {request.path} failed",
                cause=(redactor or Redactor()).redact(str(failure)),
                log=str(log_watch.path),
                hint=failure.hint,
            ) from failure
    return Answer(reply.status, reply.body, seconds)


class _Failed(Exception):
    def __init__(self, cause: str, hint: str | None = None) -> None:
        super().__init__(cause)
        self.hint = hint


def _open_exchange(port: int, request: RequestSpec) -> Exchange:
    headers = dict(request.headers)
    body = None
    if request.json is not None:
        body = msgspec.json.encode(request.json)
        if not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
    try:
        return Exchange(
            port,
            request.path,
            method=request.method,
            headers=headers,
            body=body,
            max_bytes=MAX_BODY_BYTES,
        )
    except ExchangeError as error:
        raise WarmupError("the warm-up request cannot be sent", cause=str(error)) from error


def _exchange(
    exchange: Exchange,
    liveness: Liveness,
    waiter: Waiter,
    deadline: float,
    on_poll: Callable[[], None],
) -> Reply:
    began = time.monotonic()
    while True:
        waiter.check_cancelled()
        fault = liveness.find_fault()
        if fault is not None:
            raise _Failed(fault)
        try:
            reply = exchange.step(_STEP_S)
        except ExchangeError as error:
            raise _Failed(_explain(str(error), liveness, waiter)) from error
        if reply is not None:
            return reply
        now = time.monotonic()
        if now >= deadline:
            raise _Failed(
                f"{exchange.progress} within {now - began:.1f} s",
                hint="raise request_timeout_s if it only needs longer",
            )
        on_poll()
        waiter.wait(max(min(_POLL_S - _STEP_S, deadline - now), 0.0))


def _explain(trouble: str, liveness: Liveness, waiter: Waiter) -> str:
    """The death behind a lost connection: the socket closes before the exit can be waited for."""
    deadline = time.monotonic() + _EXPLAIN_S
    while time.monotonic() < deadline:
        waiter.check_cancelled()
        fault = liveness.find_fault(thorough=True)
        if fault is not None:
            return f"{fault} ({trouble})"
        waiter.wait(_STEP_S)
    return trouble


def _settle(liveness: Liveness, waiter: Waiter) -> None:
    """A good answer counts only from a server that outlives it."""
    until = time.monotonic() + _SETTLE_S
    while True:
        waiter.check_cancelled()
        is_over = time.monotonic() >= until
        fault = liveness.find_fault(thorough=True)
        if fault is not None:
            raise _Failed(f"it was answered, but {fault}")
        if is_over and liveness.is_sure:
            return
        waiter.wait(_POLL_S)

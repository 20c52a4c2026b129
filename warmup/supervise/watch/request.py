"""Send the requests of a warm-up while the server is being watched.

A server may die of it: vLLM with an odd head size answers health 200 and falls over at its first
request. So the leader, the workers and the log are looked at ten times a second, not when the
answer fails to come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import msgspec

from warmup.launch.api import RequestSpec
from warmup.supervise.log.watch import LogWatch
from warmup.supervise.protocols import Waiter, Watched
from warmup.supervise.watch.exchange import Exchange, ExchangeError
from warmup.supervise.watch.liveness import Fault, Liveness, ServerFailed
from warmup.words.errors import WarmupError
from warmup.words.secrets import Redactor

MAX_BODY_BYTES = 64 * 1024 * 1024
_POLL_S = 0.1
_STEP_S = 0.05
_SETTLE_S = 0.25  # a process that falls over behind its answer takes this long to be seen dead
_EXPLAIN_S = 1.0  # how long a lost connection waits for the exit that explains it


class NoAnswerInTime(ServerFailed):
    """The time was over; nothing else speaks against the server."""


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
    is_last: bool = True,
) -> Answer:
    """`send_requests` of one."""
    (answer,) = send_requests(
        server,
        waiter,
        port=port,
        requests=(request,),
        timeout_s=timeout_s,
        log_watch=log_watch,
        redactor=redactor,
        on_poll=on_poll,
        is_last=is_last,
    )
    return answer


def send_requests(
    server: Watched,
    waiter: Waiter,
    *,
    port: int,
    requests: Sequence[RequestSpec],
    timeout_s: float,
    log_watch: LogWatch,
    redactor: Redactor | None = None,
    on_poll: Callable[[], None] = lambda: None,
    is_last: bool = True,
) -> list[Answer]:
    """Send all of `requests` to 127.0.0.1 at once; return the answers in their order.

    `timeout_s` is for all of them, an answer that drips included. is_last: wait a moment whether
    the server outlives them; who asks again sees that anyway. Raises `WarmupError` when the
    leader or a worker dies, the log holds a crash pattern, the time is over, a connection
    fails or an answer is larger than `MAX_BODY_BYTES`; `Cancelled` when the waiter says so.
    """
    began = time.monotonic()
    with Liveness(server, log_watch) as liveness, ExitStack() as stack:
        exchanges = [stack.enter_context(_open_exchange(port, each)) for each in requests]
        try:
            answers = _exchange(exchanges, liveness, waiter, began, timeout_s, on_poll)
            if is_last:
                _settle(liveness, waiter)
        except _Failed as failure:
            asked = "".join(f" {each.method} {each.path}" for each in requests[:1])
            kind = NoAnswerInTime if failure.is_time_over else ServerFailed
            error = kind(
                f"the warm-up request{asked} failed",
                cause=(redactor or Redactor()).redact(failure.fault.text),
                log=str(log_watch.path),
                hint=failure.hint,
            )
            error.fault = failure.fault
            raise error from failure
    return answers


class _Failed(Exception):
    def __init__(
        self, fault: Fault, hint: str | None = None, *, is_time_over: bool = False
    ) -> None:
        super().__init__(fault.text)
        self.fault = fault
        self.hint = hint
        self.is_time_over = is_time_over


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
    exchanges: Sequence[Exchange],
    liveness: Liveness,
    waiter: Waiter,
    began: float,
    timeout_s: float,
    on_poll: Callable[[], None],
) -> list[Answer]:
    answers: dict[int, Answer] = {}
    while True:
        waiter.check_cancelled()
        fault = liveness.find_fault()
        if fault is not None:
            raise _Failed(fault)
        open_ones = [index for index in range(len(exchanges)) if index not in answers]
        for index in open_ones:
            try:
                reply = exchanges[index].step(_STEP_S / len(open_ones))
            except ExchangeError as error:
                raise _Failed(_explain(str(error), liveness, waiter)) from error
            if reply is not None:
                seconds = time.monotonic() - began
                answers[index] = Answer(reply.status, reply.body, seconds)
        left = [index for index in open_ones if index not in answers]
        if not left:
            return [answers[index] for index in range(len(exchanges))]
        took = time.monotonic() - began
        if took >= timeout_s:
            raise _Failed(
                Fault(f"{exchanges[left[0]].progress} within {took:.1f} s"),
                hint="raise request_timeout_s if it only needs longer",
                is_time_over=True,
            )
        on_poll()
        waiter.wait(max(min(_POLL_S - _STEP_S, timeout_s - took), 0.0))


def _explain(trouble: str, liveness: Liveness, waiter: Waiter) -> Fault:
    """The death behind a lost connection: the socket closes before the exit can be waited for."""
    deadline = time.monotonic() + _EXPLAIN_S
    while time.monotonic() < deadline:
        waiter.check_cancelled()
        fault = liveness.find_fault(thorough=True)
        if fault is not None:
            return replace(fault, text=f"{fault.text} ({trouble})")
        waiter.wait(_STEP_S)
    return Fault(trouble)


def _settle(liveness: Liveness, waiter: Waiter) -> None:
    """A good answer counts only from a server that outlives it."""
    until = time.monotonic() + _SETTLE_S
    while True:
        waiter.check_cancelled()
        is_over = time.monotonic() >= until
        fault = liveness.find_fault(thorough=True)
        if fault is not None:
            raise _Failed(replace(fault, text=f"it was answered, but {fault.text}"))
        if is_over and liveness.is_sure:
            return
        waiter.wait(_POLL_S)

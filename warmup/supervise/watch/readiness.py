"""Wait until a server is ready, and know at once when it never will be.

Ready means: HTTP says 200, *and* every listener of the port belongs to our tree, *and* leader and
workers live. Each of the three alone has been seen to lie: health 200 with a dead scheduler
(sglang#6624), an answer from somebody else's server on the port, a worker that serves on after
its leader was killed (uvicorn, gunicorn).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from warmup.supervise.log.watch import LogWatch
from warmup.supervise.protocols import Waiter, Watched
from warmup.supervise.watch.exchange import Exchange, ExchangeError, Reply
from warmup.supervise.watch.liveness import Fault, Liveness, ServerFailed
from warmup.supervise.watch.sockets import get_port_owners, list_listening
from warmup.words.secrets import Redactor, strip_escapes

POLL_S = 0.1
_STEP_S = 0.02  # a healthy server answers within; the rest of the turn belongs to the waiter
_PATIENT_S = 0.5  # between two polls, once so many answers in a row were the same:
_MAX_ALIKE = 10
_LOOK_S = 10.0  # between two looks at who else listens: each costs milliseconds
_PROBE_TIMEOUT_S = 30.0  # sglang's /health generates a token, slowly while it compiles
_MAX_HEALTH_BYTES = 1024 * 1024
_MAX_SHOWN_CHARS = 200
_MIN_FOREIGN = 2  # sightings in a row: a socket may change hands while we look


class NotReady(ServerFailed):
    """The server did not become ready; `cause` says which of the reasons it was."""


def wait_until_ready(
    server: Watched,
    waiter: Waiter,
    *,
    port: int,
    path: str,
    timeout_s: float,
    log_watch: LogWatch,
    redactor: Redactor | None = None,
    on_poll: Callable[[], None] = lambda: None,
) -> None:
    """Poll `http://127.0.0.1:port/path` about ten times a second until the server is ready.

    on_poll is called each turn. Raises `NotReady` when the leader exits (with 0 too), a worker
    dies, the log or an unhealthy answer holds a crash pattern, a process that is not ours listens
    on the port, or `timeout_s` seconds are over; `Cancelled` when the waiter says so.
    """
    redactor = redactor or Redactor()
    deadline = time.monotonic() + timeout_s
    with (
        Liveness(server, log_watch) as liveness,
        _Probe(server, port, path, log_watch) as probe,
    ):
        while True:
            began = time.monotonic()
            waiter.check_cancelled()
            fault = liveness.find_fault() or probe.find_fault()
            if fault is None and probe.poll() and probe.owns_port():
                fault = liveness.find_fault(thorough=True)
                if fault is None and liveness.is_sure:
                    return
            hint = None
            if fault is None and time.monotonic() >= deadline:
                cause = f"not ready within {timeout_s:g} s; last seen: {probe.last_seen}"
                fault = Fault(cause + _describe_elsewhere(server, port))
                hint = "raise start_timeout_s if it only needs longer"
            if fault is not None:
                fault = liveness.hear_out(fault, waiter)
                error = NotReady(
                    "the server did not become ready",
                    cause=redactor.redact(fault.text),
                    log=str(log_watch.path),
                    hint=hint,
                )
                error.fault = fault
                raise error
            on_poll()
            waiter.wait(max(min(began + POLL_S, deadline) - time.monotonic(), 0.0))


class _Probe:
    """Asks the health path again and again, one exchange at a time, and seldom where the answer is
    always the same: each is a line in most servers' logs."""

    def __init__(self, server: Watched, port: int, path: str, log_watch: LogWatch) -> None:
        # What it answered, once that says that it will never be ready.
        self._final_words: str | None = None
        self._log_watch = log_watch
        self._own_polls = log_watch.own_polls
        self._own_polls.path = path
        self._num_alike = 0
        self._next_exchange = 0.0
        self._last_seen = ""
        self._server = server
        self._port = port
        self._path = path
        self._exchange: Exchange | None = None
        self._began = 0.0
        self._num_foreign = 0
        self._foreign: tuple[str, ...] = ()
        self._next_look = 0.0

    def __enter__(self) -> _Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def last_seen(self) -> str:
        """How the last exchange ended; of the present one, once it takes long or is the first."""
        waited_s = time.monotonic() - self._began
        if self._exchange is not None and (waited_s >= 1.0 or not self._last_seen):
            return f"{self._exchange.progress} within {waited_s:.1f} s"
        return self._last_seen or "nothing"

    def poll(self) -> bool:
        """Whether the server has just answered 200; takes 20 ms at most."""
        if self._exchange is None and time.monotonic() < self._next_exchange:
            return False
        exchange = self._get_exchange()
        try:
            reply = exchange.step(_STEP_S)
        except ExchangeError as error:
            self._end(str(error))
            return False
        finally:
            self._own_polls.add(exchange.source_port)
        if reply is None:
            if time.monotonic() - self._began >= _PROBE_TIMEOUT_S:
                self._end(f"{exchange.progress} within {_PROBE_TIMEOUT_S:g} s")
            self._look_for_foreign(is_due=exchange.is_connected)
            return False
        seen = _describe(reply)
        self._num_alike = self._num_alike + 1 if seen == self._last_seen else 0
        if reply.status != 200 and self._log_watch.has_pattern(reply.body):
            self._final_words = f"{self._path} answered {seen}"
        if reply.status != 200 and self._num_alike >= _MAX_ALIKE:
            self._next_exchange = time.monotonic() + _PATIENT_S
        self._end(seen)
        self._look_for_foreign(is_due=reply.status != 200)
        return reply.status == 200

    def owns_port(self) -> bool:
        """Whether our tree, and nobody else, listens on the port."""
        owners = get_port_owners(self._port, self._server.list_pids())
        self._count_foreign(owners.foreign)
        if owners.ours and not owners.foreign:
            return True
        self._last_seen += ", but not from a process of this server"
        return False

    def find_fault(self) -> Fault | None:
        """Who else listens on the port, once that is certain; or the server's final words."""
        if self._num_foreign >= _MIN_FOREIGN:
            names = " and ".join(self._foreign)
            return Fault(f"port {self._port} is also served by {names}, not ours")
        return None if self._final_words is None else Fault(self._final_words)

    def _look_for_foreign(self, *, is_due: bool) -> None:
        """While somebody answers, but not 200: at once, then seldom; every turn when in doubt."""
        now = time.monotonic()
        if is_due and (self._num_foreign or now >= self._next_look):
            self._next_look = now + _LOOK_S
            owners = get_port_owners(self._port, self._server.list_pids())
            self._count_foreign(owners.foreign)

    def _count_foreign(self, foreign: tuple[str, ...]) -> None:
        self._foreign = foreign
        self._num_foreign = self._num_foreign + 1 if foreign else 0

    def _get_exchange(self) -> Exchange:
        if self._exchange is None:
            self._exchange = Exchange(self._port, self._path, max_bytes=_MAX_HEALTH_BYTES)
            self._began = time.monotonic()
        return self._exchange

    def _end(self, seen: str) -> None:
        self._last_seen = seen
        self._close()

    def _close(self) -> None:
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None


def _describe(reply: Reply) -> str:
    """`HTTP 503 {"status":"warming_up"}`"""
    text = reply.location and f"to {reply.location} (redirects are not followed)"
    text = text or reply.body[:4096].decode("utf-8", "backslashreplace")
    text = " ".join(strip_escapes(text).split())[:_MAX_SHOWN_CHARS]
    return f"HTTP {reply.status} {text}".rstrip()


def _describe_elsewhere(server: Watched, port: int) -> str:
    """Where it listens instead: sglang's diffusion server moves on when its port is taken."""
    listening = list_listening(server.list_pids())
    if any(listener.port == port for listener in listening):
        return ""
    names = ", ".join(listener.name for listener in listening[:8])
    return f"; the server listens on {names} and not on port {port}" if names else ""

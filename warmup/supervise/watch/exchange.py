"""One HTTP exchange with a server on this machine that never blocks the caller.

The caller's loop also watches processes and the log, so it may not wait for a server that hangs,
drips a byte a second or never ends its headers. requests therefore runs in a thread, over a socket
that the caller made: the caller cuts it when its patience ends, which ends the thread. Proxies of
the environment are ignored (sglang#28493), redirects are not followed, and nothing but 127.0.0.1
is talked to.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING

from warmup.supervise.log.own_polls import USER_AGENT
from warmup.supervise.watch.bounded_socket import BoundedSocket, TooLarge

if TYPE_CHECKING:  # requests takes 150 ms to import, and a warm run needs none of it
    from requests import PreparedRequest
    from requests.adapters import HTTPAdapter

_READ_BYTES = 256 * 1024
_CLOSED = (IncompleteRead, RemoteDisconnected)
_END_TIMEOUT_S = 10.0  # a thread whose socket was cut ends within milliseconds


class ExchangeError(Exception):
    """The exchange failed; the text says how, as a user should read it."""


@dataclass(frozen=True)
class Reply:
    """A whole HTTP answer. location: where a redirect points to, "" otherwise."""

    status: int
    body: bytes
    location: str = ""


class Exchange:
    """One request on its own connection; call `step` until it returns the reply.

    max_bytes bounds the body that is taken in. Raises `ExchangeError` for a request that cannot be
    sent. The thread runs from the connection to `close`: no server may be forked in between.
    """

    def __init__(
        self,
        port: int,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int,
    ) -> None:
        self.is_connected = False
        self._port = port
        self._max_bytes = max_bytes
        self._request = _prepare(f"http://127.0.0.1:{port}{path}", method, headers or {}, body)
        self._socket = BoundedSocket(max_bytes)
        self._thread: threading.Thread | None = None
        self._outcome: Reply | Exception | None = None

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut the connection and wait for the thread, which that ends."""
        with suppress(OSError):  # closed already, or never connected
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join(_END_TIMEOUT_S)
            if self._thread.is_alive():
                raise RuntimeError("the thread of an HTTP exchange outlives its connection")
        self._socket.close()

    @property
    def source_port(self) -> int:
        """Our own end of the connection, by which a server's access log names us; 0 before."""
        return self._socket.source_port

    @property
    def progress(self) -> str:
        """How far an unfinished exchange has come, for the message of a timeout."""
        if not self.is_connected:
            return "connection not accepted"
        if not self._socket.num_received:
            return "no answer"
        return f"an unfinished answer of {self._socket.num_received} bytes"

    def step(self, timeout_s: float) -> Reply | None:
        """Go on for at most `timeout_s`; None while there is more to come.

        Raises `ExchangeError` once it has failed for good.
        """
        deadline = time.monotonic() + timeout_s
        if self._thread is None:
            if not self._connect(timeout_s):
                return None
            self._thread = threading.Thread(target=self._run, name="exchange", daemon=True)
            self._thread.start()
        self._thread.join(max(deadline - time.monotonic(), 0.0))
        if isinstance(self._outcome, Exception):
            raise self._explain(self._outcome) from self._outcome
        return self._outcome

    def _connect(self, timeout_s: float) -> bool:
        """False while nobody has accepted. A refusal, as from a server that starts, is known here
        at once, without a thread."""
        try:
            self.is_connected = self._socket.connect_within(self._port, timeout_s)
        except OSError as error:
            raise self._explain(error) from error
        return self.is_connected

    def _run(self) -> None:
        try:
            self._outcome = self._exchange()
        except Exception as error:  # whatever it is, `step` raises it in the caller's thread
            self._outcome = error

    def _exchange(self) -> Reply:
        # The adapter and not a Session: that one would read a redirect's body without a bound.
        with (
            closing(_make_adapter(self._socket)) as adapter,
            adapter.send(self._request, stream=True) as response,
        ):
            if response.status_code < 200:
                raise ExchangeError("the answer never comes, only announcements of it")
            body = bytearray()
            for piece in response.raw.stream(_READ_BYTES, decode_content=False):
                body += piece
                if len(body) > self._max_bytes:
                    raise ExchangeError(f"the answer is larger than {self._max_bytes} bytes")
            if response.raw.length_remaining and self._request.method != "HEAD":
                raise IncompleteRead(bytes(body))  # urllib3 1.26 does not mind
            location = response.headers.get("location") or ""
            return Reply(response.status_code, bytes(body), location)

    def _explain(self, error: Exception) -> Exception:
        """What a user should read of it; the error itself where it is a bug of ours."""
        from urllib3.exceptions import HTTPError

        known = (ExchangeError, TooLarge, OSError, HTTPException, HTTPError)
        cause = [each for each in _list_causes(error) if isinstance(each, known)][-1:]
        return ExchangeError(self._describe(cause[0])) if cause else error

    def _describe(self, cause: BaseException) -> str:
        if isinstance(cause, ExchangeError | TooLarge):
            return str(cause)
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, HTTPException) and "more than 100 headers" in str(cause):
            return "the answer's header does not end (more than 100 fields)"
        if isinstance(cause, ConnectionResetError) and not isinstance(cause, RemoteDisconnected):
            return "connection reset by the server"
        if isinstance(cause, HTTPException) and not isinstance(cause, _CLOSED):
            start = self._socket.first_bytes
            return f"the answer is not HTTP ({type(cause).__name__}): {start!r}"
        if isinstance(cause, OSError) and not isinstance(cause, _CLOSED):
            return f"connection failed: {cause}"
        what = "within its answer" if self._socket.num_received else "without an answer"
        return f"the server closed the connection {what}"


def _prepare(
    url: str, method: str, headers: Mapping[str, str], body: bytes | None
) -> PreparedRequest:
    import requests

    fields = {"User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
    given = {name.lower() for name in headers}
    fields = {name: value for name, value in fields.items() if name.lower() not in given}
    # encoded here, because http.client would do it as Latin-1
    encoded = {name: value.encode() for name, value in {**fields, **headers}.items()}
    request = requests.Request(method, url, headers=encoded, data=body)
    try:
        return request.prepare()
    except (requests.RequestException, ValueError) as error:
        raise ExchangeError(str(error)) from error


def _make_adapter(connected: socket.socket) -> HTTPAdapter:
    """An adapter whose one connection is there already. It knows no proxy and does not retry."""
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection
    from urllib3.connectionpool import HTTPConnectionPool

    class Connection(HTTPConnection):
        def connect(self) -> None:
            self.sock = connected

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    adapter = HTTPAdapter()
    adapter.poolmanager.pool_classes_by_scheme = {"http": Pool}
    return adapter


def _list_causes(error: BaseException) -> list[BaseException]:
    """The error, what it was raised for, and so on: requests and urllib3 wrap one another's."""
    causes = [error]
    while (deeper := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(deeper)
    return causes

"""One HTTP exchange with a server on this machine that never blocks the caller.

The caller's loop also watches processes and the log, so it may not wait for a server that hangs,
drips a byte a second or never ends its headers. Proxies of the environment are ignored
(sglang#28493), redirects are not followed, and nothing but 127.0.0.1 is talked to.
"""

from __future__ import annotations

import errno
import http.client
import io
import os
import re
import select
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import cast

_MAX_HEADER_BYTES = 64 * 1024
_READ_BYTES = 256 * 1024
_MAX_INTERIM = 20
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d")


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

    max_bytes bounds the body that is taken in.
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
        self._method = method
        self._max_bytes = max_bytes
        self._unsent = memoryview(_encode_request(port, path, method, headers or {}, body))
        self._received = bytearray()
        self._header_end = -1  # what follows is set with it
        self._status = 0
        self._location = ""
        self._num_expected: int | None = None  # bytes in all; None: until the end of the stream
        self._is_chunked = False
        self._num_interim = 0
        self._socket: socket.socket | None = None

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def progress(self) -> str:
        """How far an unfinished exchange has come, for the message of a timeout."""
        if not self.is_connected:
            return "connection not accepted"
        if not self._received:
            return "no answer"
        return f"an unfinished answer of {len(self._received)} bytes"

    def step(self, timeout_s: float) -> Reply | None:
        """Go on for at most `timeout_s`; None while there is more to come.

        Raises `ExchangeError` once it has failed for good.
        """
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                reply = self._advance()
                remaining = deadline - time.monotonic()
                if reply is not None or remaining <= 0:
                    return reply
                self._wait(remaining)
        except ExchangeError:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise ExchangeError(self._explain(error)) from error

    def _advance(self) -> Reply | None:
        """Do whatever can be done without waiting."""
        if self._socket is None:
            self._socket = self._connect()
        if not self.is_connected:
            self._finish_connect()
        if self.is_connected and self._unsent:
            self._send()
        return self._receive() if self.is_connected else None

    def _connect(self) -> socket.socket:
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.setblocking(False)
        code = client.connect_ex(("127.0.0.1", self._port))
        if code not in (0, errno.EINPROGRESS):
            client.close()
            raise OSError(code, os.strerror(code))
        return client

    def _finish_connect(self) -> None:
        client = cast(socket.socket, self._socket)
        if not _poll(client, select.POLLOUT, 0):
            return
        code = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        if client.getsockname() == client.getpeername():
            # a closed port of the ephemeral range can be connected to itself
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")
        self.is_connected = True

    def _send(self) -> None:
        client = cast(socket.socket, self._socket)
        try:
            while self._unsent:
                self._unsent = self._unsent[client.send(self._unsent) :]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self._unsent = self._unsent[:0]  # it may have answered before it hung up (413)

    def _receive(self) -> Reply | None:
        client = cast(socket.socket, self._socket)
        while True:
            try:
                data = client.recv(_READ_BYTES)
            except BlockingIOError:
                return None
            self._received += data
            reply = self._find_reply(is_end=not data)
            if reply is not None:
                return reply
            if not data:
                what = "within its answer" if self._received else "without an answer"
                raise ExchangeError(f"the server closed the connection {what}")

    def _find_reply(self, is_end: bool) -> Reply | None:
        if self._header_end < 0:
            self._find_header()
        if self._header_end < 0:
            return None
        num_body = len(self._received) - self._header_end
        if num_body > self._max_bytes:
            raise ExchangeError(f"the answer is larger than {self._max_bytes} bytes")
        if self._is_chunked:
            is_whole = self._received.endswith(b"\r\n0\r\n\r\n") or is_end
        elif self._num_expected is not None:
            is_whole = num_body >= self._num_expected
        else:
            is_whole = is_end
        if not is_whole:
            return None
        body = bytes(self._received[self._header_end :][: self._num_expected])
        if self._is_chunked:
            try:
                body = _parse(bytes(self._received), self._method).read()
            except http.client.IncompleteRead:
                return None  # at the end of the stream the caller says so
        return Reply(self._status, body, self._location)

    def _find_header(self) -> None:
        """Set what the header says of the body, once the header is whole."""
        end = _find_header_end(self._received)
        while end >= 0 and _INTERIM.match(self._received):
            self._num_interim += 1
            if self._num_interim > _MAX_INTERIM:
                raise ExchangeError("the answer never comes, only announcements of it")
            del self._received[:end]
            end = _find_header_end(self._received)
        if end >= 0:
            response = _parse(bytes(self._received[:end]), self._method)
            self._header_end = end
            self._status = response.status
            self._location = response.getheader("location") or ""
            self._is_chunked = bool(response.chunked)
            self._num_expected = response.length
        elif len(self._received) > _MAX_HEADER_BYTES:
            raise ExchangeError("the answer's header does not end")
        elif not b"HTTP/".startswith(self._received[:5]):
            raise ExchangeError(f"the answer is no HTTP: {bytes(self._received[:60])!r}")

    def _wait(self, timeout_s: float) -> None:
        events = select.POLLIN
        if not self.is_connected or self._unsent:
            events |= select.POLLOUT
        if self._socket is not None:
            _poll(self._socket, events, timeout_s)

    def _explain(self, error: Exception) -> str:
        if isinstance(error, ConnectionRefusedError):
            return "connection refused"
        if isinstance(error, ConnectionResetError):
            return "connection reset by the server"
        if isinstance(error, http.client.HTTPException):
            start = bytes(self._received[:60])
            return f"the answer is no HTTP ({type(error).__name__}): {start!r}"
        return f"connection failed: {error}"


def _poll(client: socket.socket, events: int, timeout_s: float) -> bool:
    poller = select.poll()  # select.select cannot take descriptors above 1023
    poller.register(client, events)
    return bool(poller.poll(timeout_s * 1000))


def _find_header_end(data: bytearray) -> int:
    ends = [(data.find(mark), len(mark)) for mark in (b"\r\n\r\n", b"\n\n")]
    found = [position + length for position, length in ends if position >= 0]
    return min(found, default=-1)


def _encode_request(
    port: int, path: str, method: str, headers: Mapping[str, str], body: bytes | None
) -> bytes:
    fields = {"Host": f"127.0.0.1:{port}", "Accept": "*/*", "Connection": "close"}
    if body is not None:
        fields["Content-Length"] = str(len(body))
    names = {name.lower() for name in headers}
    fields = {name: value for name, value in fields.items() if name.lower() not in names}
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {**fields, **headers}.items()]
    for line in lines:
        if "\r" in line or "\n" in line:
            raise ExchangeError(f"a line break inside the request: {line!r}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


class _Received:
    """What http.client reads an answer from: bytes that are here already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def _parse(data: bytes, method: str) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(cast(socket.socket, _Received(data)), method=method)
    response.begin()
    return response

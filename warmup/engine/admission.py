"""What a request must be before anything else looks at it: for this host, from no foreign page, of
a type we read, and no larger or slower than what a server can bear.

A browser sends what any web page asks it to, so a server on loopback is not private by itself. A
page reaches it under a name of its own that resolves here (DNS rebinding: `Host` tells), or by a
form or a plain-text post, for which no browser asks first (CSRF: `Origin` tells).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from warmup.engine.failures import error_response
from warmup.engine.messages import Failure, RequestError, invalid

MAX_BODY_BYTES = 64 << 20
# The whole body, from the first time that somebody reads it.
BODY_DEADLINE_S = 60.0
_WILDCARDS = ("0.0.0.0", "::", "")


class Admission:
    """ASGI middleware, the outermost. host: the address that the server was told to listen on."""

    def __init__(self, app: ASGIApp, host: str, body_deadline_s: float = BODY_DEADLINE_S) -> None:
        self.app = app
        self.body_deadline_s = body_deadline_s
        self._host = host
        self._own_names = {"localhost", host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        problem = next(self._find_problems(scope), None)
        if problem is None:
            await self.app(scope, self._bound(receive), send)
        elif scope["type"] == "websocket":
            await receive()  # its `connect`, without which the protocol allows no answer
            await send({"type": "websocket.close", "code": 1008, "reason": problem.message})
        else:
            await error_response(problem)(scope, receive, send)

    def _find_problems(self, scope: Scope) -> Iterator[Failure]:
        headers = Headers(scope=scope)
        host = headers.get("host")
        if host is not None and not self._is_own(host, scope):
            yield Failure("validation", f"this server is not {host}", "Host")
        origin = headers.get("origin")
        if origin is not None and not self._is_own(urlsplit(origin).netloc, scope):
            yield Failure("validation", f"pages of {origin} may not use this server", "Origin")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_json = kind == "application/json" or kind.endswith("+json")
        if kind and not is_json and kind != "multipart/form-data":
            message = f"the body must be application/json or multipart/form-data, not {kind}"
            yield Failure("validation", message, "Content-Type")

    def _is_own(self, authority: str, scope: Scope) -> bool:
        """Is `NAME[:PORT]` a name of this server? A page cannot take an address for its name, so
        a server that listens on all of them has every address for its own."""
        try:
            name = urlsplit(f"//{authority}").hostname or ""
        except ValueError:
            return False
        if name in self._own_names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            # Names without a dot are the local network's own (a container, a Kubernetes service).
            return self._host in _WILDCARDS and bool(name) and "." not in name
        reached = (scope.get("server") or ("",))[0]
        return address.is_loopback or self._host in _WILDCARDS or name == reached

    def _bound(self, receive: Receive) -> Receive:
        """`receive`, which raises `RequestError` for a body that is too large or too slow."""
        num_bytes = 0
        is_whole = False
        deadline: float | None = None

        async def receive_bounded() -> Message:
            nonlocal num_bytes, is_whole, deadline
            if is_whole:  # what follows is the client's hanging up, and may take its time
                return await receive()
            deadline = deadline or time.monotonic() + self.body_deadline_s
            try:
                left_s = max(deadline - time.monotonic(), 0.0)
                message = await asyncio.wait_for(receive(), left_s)
            except asyncio.TimeoutError:
                raise _too_slow(self.body_deadline_s) from None
            num_bytes += len(message.get("body", b""))
            if num_bytes > MAX_BODY_BYTES:
                raise invalid(f"the body is larger than {MAX_BODY_BYTES >> 20} MiB", "body")
            is_whole = not message.get("more_body", False)
            return message

        return receive_bounded


def _too_slow(limit_s: float) -> RequestError:
    return invalid(f"the body was not here within {limit_s:g} s", "body")

"""The connection of one exchange: made without waiting, bounded in what it takes in."""

from __future__ import annotations

import errno
import os
import select
import socket
from contextlib import suppress
from typing import Any

_MAX_HEADER_BYTES = 64 * 1024
_FIRST_BYTES = 60


class TooLarge(Exception):
    """More came than may. Neither an OSError nor of HTTP, so that no library tries to mend it."""


class BoundedSocket(socket.socket):
    """Takes in `max_bytes` and a header, not more, whatever the protocol above makes of them.

    source_port: our own end, once connected. first_bytes: the start of what came.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.num_received = 0
        self.first_bytes = b""
        self.source_port = 0
        self._max_bytes = max_bytes

    def connect_within(self, port: int, timeout_s: float) -> bool:
        """Whether somebody accepted in time; call again where nobody did."""
        self.setblocking(False)
        code = self.connect_ex(("127.0.0.1", port))
        if code in (errno.EINPROGRESS, errno.EALREADY):
            poller = select.poll()  # select.select cannot take descriptors above 1023
            poller.register(self, select.POLLOUT)
            if not poller.poll(timeout_s * 1000):
                return False
            code = self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code not in (0, errno.EISCONN):
            raise OSError(code, os.strerror(code))
        self.source_port = int(self.getsockname()[1])
        if self.getsockname() == self.getpeername():
            # a closed port of the ephemeral range can be connected to itself
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")
        self.setblocking(True)
        return True

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        # It may have answered before it hung up on a request that is too large for it (413).
        with suppress(BrokenPipeError, ConnectionResetError):
            super().sendall(data, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        count = super().recv_into(buffer, nbytes, flags)
        self.first_bytes = self.first_bytes or bytes(memoryview(buffer)[: min(count, _FIRST_BYTES)])
        self.num_received += count
        if self.num_received > self._max_bytes + _MAX_HEADER_BYTES:
            raise TooLarge(f"the answer is larger than {self._max_bytes} bytes")
        return count

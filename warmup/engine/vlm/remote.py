"""Images from http(s) addresses (`--allow-remote-media`), in threads of their own.

An address is somebody else's choice. So it is resolved once, held to public addresses, and the
connection goes to the very address that was judged; redirects are not followed; and everything
together, names and certificates included, has one deadline. http.client, and not requests: it
takes a connection that is already made, knows no proxies, and follows nothing by itself.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from warmup.engine.messages import RequestError, invalid

DEADLINE_S = 10.0
NUM_THREADS = 4
MAX_FILE_BYTES = 32 << 20  # of one image, wherever it comes from
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last 4 bytes
# Azure's host, whose address is a public one; others' metadata services are link-local or private.
_METADATA = frozenset((ipaddress.ip_address("168.63.129.16"),))


def is_public(text: str) -> bool:
    """Is this address out in the internet: neither private, loopback, link-local, reserved, nor a
    cloud's metadata service, nor a form of IPv6 that carries such an IPv4 address?"""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast and address not in _METADATA


@dataclass
class RemoteMedia:
    """is_allowed: judges an address that a name resolved to. Close it when done."""

    deadline_s: float = DEADLINE_S
    is_allowed: Callable[[str], bool] = is_public

    def __post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(NUM_THREADS, "remote-media")

    async def fetch(self, url: str, field: str, until: float) -> bytes:
        """The bytes of a file of at most 32 MiB. Raises `RequestError` naming `field`.

        until: of time.monotonic; waiting for a free thread counts too.
        """
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._fetch, url, field, until)
        try:
            return await asyncio.wait_for(work, max(until - time.monotonic(), 0.0))
        except asyncio.TimeoutError:
            raise self._too_slow(field) from None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _too_slow(self, field: str) -> RequestError:
        return invalid(f"the image URL did not answer within {self.deadline_s:g} s", field)

    def _fetch(self, url: str, field: str, until: float) -> bytes:
        try:
            parts = urlsplit(url)
            address, port = self._resolve(parts, field)
            return _read_answer(parts, address, port, until, field)
        except (OSError, ValueError, http.client.HTTPException) as error:
            if time.monotonic() >= until:
                raise self._too_slow(field) from None
            reason = type(error).__name__
            raise invalid(f"the image cannot be fetched: {reason}", field) from None

    def _resolve(self, parts: SplitResult, field: str) -> tuple[str, int]:
        """Every address of a name must be allowed: which one is met is the resolver's choice."""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(parts.hostname or "", port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found]
        for address in addresses:
            if not self.is_allowed(address):
                raise invalid(f"{address} is not a public address: it is not fetched from", field)
        return addresses[0], port


def _read_answer(parts: SplitResult, address: str, port: int, until: float, field: str) -> bytes:
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    stream = socket.create_connection((address, port), timeout=left_s)
    # A peer that drips a byte at a time never meets a socket's own timeout: a timer hangs up. It
    # holds a descriptor of its own, since TLS takes the socket over.
    with stream.dup() as own, stream:
        timer = threading.Timer(until - time.monotonic(), _hang_up, (own,))
        timer.daemon = True
        timer.start()
        try:
            data = _exchange(parts, stream, port, field)
            if time.monotonic() >= until:
                raise TimeoutError  # an answer without a length looks whole where it was cut
            return data
        finally:
            timer.cancel()
            timer.join()  # before `own` is closed, and its number given to another


def _hang_up(stream: socket.socket) -> None:
    try:
        stream.shutdown(socket.SHUT_RDWR)
    except OSError:  # the peer was faster
        return


def _exchange(parts: SplitResult, stream: socket.socket, port: int, field: str) -> bytes:
    host = parts.hostname or ""
    connection = http.client.HTTPConnection(host, port)
    connection.sock = stream
    if parts.scheme == "https":
        connection.sock = ssl.create_default_context().wrap_socket(stream, server_hostname=host)
    try:
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        connection.request("GET", target, headers={"Host": parts.netloc.rpartition("@")[2]})
        with connection.getresponse() as answer:
            if answer.status != 200:
                raise invalid(f"the image URL answers {answer.status}", field)
            data = answer.read(MAX_FILE_BYTES + 1)
            if answer.length and len(data) <= MAX_FILE_BYTES:
                raise http.client.IncompleteRead(data)
            return data
    finally:
        connection.close()

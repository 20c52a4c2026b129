"""Ports for servers: leased, not guessed.

`bind(0)`, close and hand over is a race, and polling a closed port of the ephemeral range can
connect a socket to itself. So ports come in blocks outside that range, and a block is held by a
lock as long as its server may run.
"""

from __future__ import annotations

import errno
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from warmup.words.errors import HostError
from warmup.words.files import Folder
from warmup.words.locks import Lock, try_lock

_FIRST_PORT = 10_000
_LAST_PORT = 65_535
# sglang's DP attention takes port + 233 and the next few (one per DP rank), unasked: a block is
# wide enough for them, and only its first ports are handed out.
_BLOCK_PORTS = 320
_MAX_LEASED = 64
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


class PortLease:
    """`ports` (contiguous, `port` first) are ours until `close`, or until this process ends."""

    def __init__(self, ports: tuple[int, ...], lock: Lock, claim: socket.socket) -> None:
        self.ports = ports
        self._lock = lock
        self._claim = claim
        self._is_open = True

    @property
    def port(self) -> int:
        return self.ports[0]

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._claim.close()
            self._lock.close()

    def __enter__(self) -> PortLease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def lease_ports(locks_dir: Path, count: int) -> PortLease:
    """Lock a block whose `count` first ports (1 to 64) are free on every address.

    Blocks where connections of earlier servers are in TIME_WAIT (for a minute) are for want of
    others only: most servers bind there all the same (SO_REUSEADDR), not all.
    Raises `HostError` when no block is free or the lock folder cannot be used.
    """
    _check_count(count)
    blocks = _list_blocks(locks_dir)
    for base, may_linger in [
        *((base, False) for base in blocks),
        *((base, True) for base in blocks),
    ]:
        lock = _find_lock(locks_dir, f"ports-{base}.lock")
        if lock is None:
            continue
        claim = _find_claim(base)
        if claim is not None and _is_free(base, may_linger):
            return PortLease(tuple(range(base, base + count)), lock, claim)
        if claim is not None:
            claim.close()
        lock.close()
    raise HostError(
        "no free ports for a server",
        cause=f"every block of {_BLOCK_PORTS} ports from {_FIRST_PORT} on is locked or in use",
        hint=f"see who listens (`ss -ltnp`) and who holds {locks_dir}/ports-*.lock",
    )


def peek_ports(locks_dir: Path, count: int) -> tuple[int, ...]:
    """The ports that `lease_ports` would most likely give now; nothing is locked or written."""
    _check_count(count)
    blocks = _list_blocks(locks_dir)
    base = next((base for base in blocks if _is_unclaimed(base) and _is_free(base)), blocks[0])
    return tuple(range(base, base + count))


def _check_count(count: int) -> None:
    if not 1 <= count <= _MAX_LEASED:
        raise ValueError(f"a lease holds 1 to {_MAX_LEASED} ports, not {count}")


def _list_blocks(locks_dir: Path) -> list[int]:
    """First port of each block: below the ephemeral range, then above, then (no other) inside.

    Two homes start at different blocks, so that they seldom meet.
    """
    low, high = _get_ephemeral_range()
    below = list(_split(_FIRST_PORT, min(low - 1, _LAST_PORT)))
    above = list(_split(max(high + 1, _FIRST_PORT), _LAST_PORT))
    if not below and not above:
        below = list(_split(_FIRST_PORT, _LAST_PORT))
    offset = zlib.crc32(str(locks_dir.absolute()).encode("utf-8", "surrogateescape"))
    return [*_rotate(below, offset), *_rotate(above, offset)]


def _split(first: int, last: int) -> Iterator[int]:
    return iter(range(first, last - _BLOCK_PORTS + 2, _BLOCK_PORTS))


def _rotate(blocks: list[int], offset: int) -> list[int]:
    start = offset % len(blocks) if blocks else 0
    return blocks[start:] + blocks[:start]


def _get_ephemeral_range() -> tuple[int, int]:
    try:
        low, high = _EPHEMERAL.read_text().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return 32_768, 60_999  # Linux' default


def _find_lock(folder: Path, name: str) -> Lock | None:
    """None while another holds it. Raises HostError, also where flock is missing."""
    try:
        with Folder.open(folder, create=True) as locks:
            return try_lock(locks, name)
    except OSError as error:
        raise HostError(
            "ports cannot be locked", cause=f"{error.strerror}: {error.filename or folder}"
        ) from error


def _find_claim(base: int) -> socket.socket | None:
    """An abstract socket named after the block; None while another process has it.

    Its scope is the network namespace, as the ports' is: it keeps runs of other users and homes
    apart, whose lock files are elsewhere (eight runners of one host start their jobs at once).
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0warmup-ci-ports-{base}")
    except OSError as error:
        claim.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return claim


def _is_unclaimed(base: int) -> bool:
    claim = _find_claim(base)
    if claim is not None:
        claim.close()
    return claim is not None


def _is_free(base: int, may_linger: bool = False) -> bool:
    """Whether nobody has any port of the block, on any address, SO_REUSEPORT or not.

    Binding the wildcard without SO_REUSEADDR is the strictest question the kernel answers; with it
    (may_linger) connections in TIME_WAIT do not count, listeners do.
    """
    return all(
        _can_bind(family, port, may_linger)
        for port in range(base, base + _BLOCK_PORTS)
        for family in (socket.AF_INET, socket.AF_INET6)
    )


def _can_bind(family: socket.AddressFamily, port: int, may_linger: bool) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, may_linger)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(("", port))
    except OSError as error:
        # no IPv6 on this host: then nobody listens there either
        return error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
    return True

"""Who listens: from a port to the sockets' inodes to the processes that hold them.

Two SO_REUSEPORT listeners share a port, so a good answer from a port proves nothing about the
server that was started; its file descriptors do.
"""

from __future__ import annotations

import ipaddress
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from warmup.supervise.tree import proc

_LISTEN = "0A"  # TCP_LISTEN of the kernel's include/net/tcp_states.h


@dataclass(frozen=True)
class Listener:
    """One listening TCP socket. address: "127.0.0.1", "::", …; uid: of who opened it."""

    address: str
    port: int
    inode: int
    uid: int

    @property
    def name(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"


@dataclass(frozen=True)
class PortOwners:
    """ours: those of the asked pids that hold a listener of the port. foreign: all others."""

    ours: frozenset[int]
    foreign: tuple[str, ...]


def list_listeners() -> list[Listener]:
    """Every listening TCP socket of this network namespace."""
    return [*_read_table("/proc/net/tcp"), *_read_table("/proc/net/tcp6")]


def find_listeners(port: int) -> set[int]:
    """Inodes of the sockets that listen on a port, whatever their address."""
    return {listener.inode for listener in list_listeners() if listener.port == port}


def find_owner_pids(port: int, pids: Iterable[int]) -> set[int]:
    """Those of `pids` that hold a socket which listens on the port."""
    inodes = find_listeners(port)
    return {pid for pid in pids if inodes & _list_socket_inodes(pid)}


def get_port_owners(port: int, pids: Iterable[int]) -> PortOwners:
    """Whether a port is served by these processes only, partly, or by somebody else."""
    held = {pid: _list_socket_inodes(pid) for pid in pids}
    listeners = [listener for listener in list_listeners() if listener.port == port]
    ours = {pid for pid in held if any(entry.inode in held[pid] for entry in listeners)}
    known = set().union(*held.values()) if held else set()
    foreign = tuple(_describe_owner(entry) for entry in listeners if entry.inode not in known)
    return PortOwners(frozenset(ours), foreign)


def list_listening(pids: Iterable[int]) -> list[Listener]:
    """The listening sockets of these processes, by port."""
    inodes: set[int] = set().union(*(_list_socket_inodes(pid) for pid in pids))
    found = (listener for listener in list_listeners() if listener.inode in inodes)
    return sorted(found, key=lambda listener: (listener.port, listener.address))


def _describe_owner(listener: Listener) -> str:
    for pid in proc.list_pids():
        if listener.inode in _list_socket_inodes(pid):
            return f"pid {pid} ({proc.get_command(pid)})"
    return f"a process of uid {listener.uid} that cannot be seen from here"


def _read_table(path: str) -> Iterator[Listener]:
    try:
        with Path(path).open() as table:
            next(table, None)
            for line in table:
                fields = line.split()
                if fields[3] != _LISTEN:
                    break  # listeners come first, and there may be many thousands of others
                address, port = fields[1].split(":")
                yield Listener(_decode(address), int(port, 16), int(fields[9]), int(fields[7]))
    except FileNotFoundError:  # no IPv6
        return


def _decode(address: str) -> str:
    """Each 32-bit word is printed in the host's byte order."""
    words = (int(address[i : i + 8], 16) for i in range(0, len(address), 8))
    return str(ipaddress.ip_address(b"".join(struct.pack("=I", word) for word in words)))


def _list_socket_inodes(pid: int) -> set[int]:
    """Inodes of the sockets that a process holds; none for one that is gone or another user's."""
    folder = f"/proc/{pid}/fd"
    inodes = set()
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - hot
            target = _find_link(f"{folder}/{name}")
            if target is not None and target.startswith("socket:["):
                inodes.add(int(target[8:-1]))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return inodes
    return inodes


def _find_link(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115 - hot
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None

"""Who listens: from a port to the processes that hold a socket which listens on it.

Two SO_REUSEPORT listeners share a port, so a good answer from a port proves nothing about the
server that was started; its file descriptors do.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from warmup.supervise.tree import proc


@dataclass(frozen=True)
class Listener:
    """One listening TCP socket. address: "127.0.0.1", "::", …; pid: the first process that holds
    it, None where that cannot be seen from here."""

    address: str
    port: int
    pid: int | None

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
    """Every listening TCP socket of this network namespace, by port and address. Takes 0.1 ms per
    process of the host."""
    import psutil

    found: list[Listener] = []
    with suppress(psutil.AccessDenied):  # no /proc/net for us: then nobody can be seen to listen
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr:
                address, port = connection.laddr
                found.append(Listener(address, port, connection.pid))
    return sorted(found, key=lambda listener: (listener.port, listener.address))


def get_port_owners(port: int, pids: Collection[int]) -> PortOwners:
    """Whether a port is served by these processes only, partly, or by somebody else."""
    listeners = [listener for listener in list_listeners() if listener.port == port]
    ours = {listener.pid for listener in listeners if listener.pid in pids}
    foreign = tuple(_describe_owner(each) for each in listeners if each.pid not in pids)
    return PortOwners(frozenset(pid for pid in ours if pid is not None), foreign)


def list_listening(pids: Collection[int]) -> list[Listener]:
    """The listening sockets of these processes, by port."""
    return [listener for listener in list_listeners() if listener.pid in pids]


def _describe_owner(listener: Listener) -> str:
    if listener.pid is None:
        return "a process of another user, which cannot be seen from here"
    return f"pid {listener.pid} ({proc.get_command(listener.pid)})"

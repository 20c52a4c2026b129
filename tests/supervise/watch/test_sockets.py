from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from warmup.supervise.watch.sockets import (
    get_port_owners,
    list_listeners,
    list_listening,
)

LISTEN = """
import socket, sys
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def listen_elsewhere(port: int = 0) -> Iterator[tuple[int, int]]:
    """(pid, port) of another process that listens with SO_REUSEPORT."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", LISTEN, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


def count_listeners(port: int) -> int:
    return len([listener for listener in list_listeners() if listener.port == port])


def test_our_own_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        owners = get_port_owners(port, [os.getpid()])
        assert owners.ours == {os.getpid()}
        assert owners.foreign == ()
        (listener,) = [each for each in list_listening([os.getpid()]) if each.port == port]
        assert listener.name == f"127.0.0.1:{port}"
        assert listener.pid == os.getpid()
    assert count_listeners(port) == 0


def test_connections_are_no_listeners() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            assert count_listeners(port) == 1


def test_foreign_listener_is_named() -> None:
    with listen_elsewhere() as (pid, port):
        owners = get_port_owners(port, [os.getpid()])
        assert owners.ours == frozenset()
        (foreign,) = owners.foreign
        assert foreign.startswith(f"pid {pid} ({sys.executable}")


def test_port_that_is_shared() -> None:
    with listen_elsewhere() as (pid, port), listen_elsewhere(port) as (other, _):
        assert count_listeners(port) == 2
        assert get_port_owners(port, [pid, other]).foreign == ()
        owners = get_port_owners(port, [pid])
        assert owners.ours == {pid}
        assert f"pid {other} " in owners.foreign[0]


def test_addresses_of_both_families() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this host")
    with server:
        port = server.getsockname()[1]
        (listener,) = [each for each in list_listeners() if each.port == port]
        assert listener.name == f"[::1]:{port}"


def test_pids_that_are_gone() -> None:
    assert list_listening([2**22 + 1]) == []
    assert list_listening([]) == []

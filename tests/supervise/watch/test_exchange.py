from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from warmup.supervise.watch.exchange import Exchange, ExchangeError, Reply


@contextmanager
def serve_once(*pieces: bytes) -> Iterator[int]:
    """A listener that answers its first connection with these bytes, one send each."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def run() -> None:
            client, _ = server.accept()
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.recv(65536)
                with suppress(ConnectionError):  # the client has taken enough
                    for piece in pieces:
                        client.sendall(piece)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            thread.join(10)


def exchange(*pieces: bytes, method: str = "GET", max_bytes: int = 1000) -> Reply:
    with (
        serve_once(*pieces) as port,
        Exchange(port, "/", method=method, max_bytes=max_bytes) as client,
    ):
        reply = client.step(10.0)
    assert reply is not None
    return reply


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", b"fine"),
        (b"HTTP/1.0 200 OK\r\n\r\nup to the end", b"up to the end"),
        (b"HTTP/1.1 200 OK\n\nbare line feeds", b"bare line feeds"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
            b"hello world",
        ),
    ],
)
def test_bodies_of_every_kind(answer: bytes, body: bytes) -> None:
    assert exchange(answer).body == body
    assert exchange(*(bytes([byte]) for byte in answer)).body == body


def test_head_has_no_body() -> None:
    assert exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", method="HEAD").body == b""


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "within its answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "within its answer"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "within its answer",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 100_000, "larger than"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, "larger than 1000 bytes"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not HTTP (BadStatusLine): b'SSH-2.0"),
        (b"HTTP/1.1 abc\r\n\r\n", "not HTTP (BadStatusLine)"),
        (
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
            "header does not end (more than 100 fields)",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001, "larger than 1000 bytes"),
    ],
)
def test_what_is_wrong_with_an_answer(answer: bytes, says: str) -> None:
    with pytest.raises(ExchangeError) as caught:
        exchange(answer)
    assert says in str(caught.value)


def test_connection_refused() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, so that nobody else can listen there
        with (
            Exchange(bound.getsockname()[1], "/", max_bytes=10) as client,
            pytest.raises(ExchangeError, match=r"^connection refused$"),
        ):
            client.step(1.0)


def test_connection_to_itself_counts_as_refused() -> None:
    """What happens to whoever polls a closed port of the ephemeral range long enough."""

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    with Exchange(port, "/", max_bytes=10) as client:
        client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client._socket.bind(("127.0.0.1", port))
        with pytest.raises(ExchangeError, match="connection refused"):
            client.step(1.0)


def test_large_request_is_sent_whole() -> None:
    body = b"x" * 5_000_000
    received = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def run() -> None:
            client, _ = server.accept()
            with client:
                data = b""
                while len(data.partition(b"\r\n\r\n")[2]) < len(body):
                    data += client.recv(1_000_000)
                received.append(data.partition(b"\r\n\r\n")[2])
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=run)
        thread.start()
        with Exchange(
            server.getsockname()[1], "/", method="POST", body=body, max_bytes=10
        ) as client:
            assert client.step(10.0) == Reply(200, b"")
        thread.join(10)
    assert received == [body]


def test_answer_before_the_request_was_read_is_heard() -> None:
    """A server that refuses a body (413) hangs up before it has read it all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        with Exchange(
            server.getsockname()[1], "/", method="POST", body=b"x" * 50_000_000, max_bytes=10
        ) as exchange:
            assert exchange.step(0.0) is None
            client, _ = server.accept()
            with client:
                client.recv(1000)
                client.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            reply = exchange.step(10.0)
    assert reply is not None
    assert reply.status == 413


@pytest.mark.parametrize("piece", [b"", b"HTTP/1.1 200 OK\r\nX: y", b"HTTP/1.1 200 OK\r\n\r\nbody"])
def test_thread_ends_with_the_exchange_however_far_it_came(piece: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with Exchange(port, "/", max_bytes=1000) as exchange:
            assert exchange.step(0.0) is None
            client, address = server.accept()
            with client:
                assert address[1] == exchange.source_port
                client.recv(65536)
                client.sendall(piece)
                assert exchange.step(0.1) is None
                exchange.close()
                assert get_exchange_threads() == []
                assert client.recv(100) == b""  # cut, and the server sees it


def test_thread_ends_while_a_request_is_not_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with Exchange(port, "/", method="POST", body=b"x" * 50_000_000, max_bytes=10) as exchange:
            assert exchange.step(0.1) is None
            assert len(get_exchange_threads()) == 1
    assert get_exchange_threads() == []


def test_no_thread_while_nobody_accepts() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        with ExitStack() as stack:
            for _ in range(3):  # until the queue of connections is full
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            exchange = stack.enter_context(Exchange(port, "/", max_bytes=10))
            assert exchange.step(0.1) is None
            assert exchange.step(0.0) is None
            assert exchange.progress == "connection not accepted"
            assert get_exchange_threads() == []


def get_exchange_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "exchange"]


def test_answer_that_is_compressed_is_taken_as_it_is() -> None:
    """A bound on bytes holds only while nothing is unpacked."""
    packed = gzip.compress(b"x" * 1_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    assert exchange(head.encode() + packed, max_bytes=10_000).body == packed


def test_redirect_keeps_its_body_and_is_not_followed() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 4\r\n\r\nbody"
    assert exchange(answer) == Reply(302, b"body", "http://127.0.0.1:9/")

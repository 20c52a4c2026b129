"""What clients may not do: come under a foreign name or from a foreign page, send for ever."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI, Request

from tests.engine.server_process import TOY, ServerProcess, run_server, send_until_answered
from warmup.engine.admission import Admission
from warmup.engine.body import read_json
from warmup.engine.failures import add_error_handlers
from warmup.engine.listen import serve_http

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("toy")
    with run_server(folder / "log", "--model", str(folder), program=TOY) as ready:
        ready.wait_ready()
        yield ready


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def exchange(port: int, head: str, body: bytes = b"") -> tuple[int, Any]:
    """Status and JSON of a request whose head is written here, byte for byte."""
    with connect(port) as stream:
        end = f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        stream.sendall(f"{head}{end}".encode() + body)
        answer = b"".join(iter(lambda: stream.recv(65536), b""))
    first, _, content = answer.partition(b"\r\n\r\n")
    return int(first.split()[1]), json.loads(content)


TOY_HEAD = "POST /toy HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:30000", "127.0.0.1.evil.example",
                                  "10.0.0.1", "[", "a b"])  # fmt: skip
@pytest.mark.parametrize("path", ["/server_info", "/v1/models", "/health"])
def test_a_page_that_resolves_its_name_to_us_learns_nothing(
    server: ServerProcess, host: str, path: str
) -> None:
    status, body = exchange(server.port, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n")
    assert (status, body["error"]["param"]) == (400, "Host")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:5", "127.1.2.3"])
def test_our_own_names_are_ours(server: ServerProcess, host: str) -> None:
    assert exchange(server.port, f"GET /health HTTP/1.1\r\nHost: {host}\r\n")[0] == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1.evil.example", "null"]
)
@pytest.mark.parametrize("kind", ["text/plain", "application/json", "multipart/form-data"])
def test_a_foreign_page_may_not_post(server: ServerProcess, origin: str, kind: str) -> None:
    head = f"{TOY_HEAD}Origin: {origin}\r\nContent-Type: {kind}\r\n"
    status, body = exchange(server.port, head, b'{"value": 1}')
    assert (status, body["error"]["param"]) == (400, "Origin")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "image/png"])
def test_types_that_we_do_not_read_are_refused(server: ServerProcess, kind: str) -> None:
    head = f"{TOY_HEAD}Content-Type: {kind}; charset=utf-8\r\n"
    status, body = exchange(server.port, head, b'{"value": 1}')
    assert (status, body["error"]["param"]) == (400, "Content-Type")


def test_our_own_page_may(server: ServerProcess) -> None:
    head = f"{TOY_HEAD}Origin: http://localhost:3\r\nContent-Type: application/json\r\n"
    assert exchange(server.port, head, b'{"value": 1}') == (200, {"value": 1})


@pytest.mark.parametrize(
    ("host", "name", "is_own"),
    [
        ("0.0.0.0", "10.1.2.3:80", True),
        ("0.0.0.0", "runner-7", True),
        ("::", "[fe80::1]", True),
        ("0.0.0.0", "evil.example", False),
        ("gpu.example", "gpu.example:1", True),
        ("gpu.example", "other.example", False),
    ],
)
def test_a_server_for_the_network_has_more_names(host: str, name: str, is_own: bool) -> None:
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(200)

    async def send(message: Any) -> None:
        if "status" in message:
            seen.append(message["status"])

    headers = [(b"host", name.encode())]
    scope = {"type": "http", "path": "/", "headers": headers, "server": ("10.0.0.9", 1)}
    asyncio.run(Admission(app, host)(scope, cast(Any, None), send))
    assert seen == [200 if is_own else 400]


def test_a_chunked_body_is_counted(server: ServerProcess) -> None:
    with connect(server.port) as stream:
        head = f"{TOY_HEAD}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        stream.sendall(head.encode())
        chunk = b"%x\r\n%s\r\n" % (MIB, b" " * MIB)
        assert send_until_answered(stream, chunk, 512 * MIB) < 128 * MIB
        assert stream.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert server.get("/health")[0] == 200


def drip(stream: socket.socket, text: bytes, at_most: int = 400) -> bool:
    """Send `text` ten times a second until the server hangs up; False if it never does."""
    for _ in range(at_most):
        if select.select([stream], [], [], 0.1)[0]:
            try:
                if stream.recv(65536) == b"":
                    return True
            except ConnectionResetError:
                return True
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stream.sendall(text)
    return False


def test_slow_heads_are_cut_and_others_are_not(server: ServerProcess) -> None:
    with connect(server.port) as silent, connect(server.port) as slow, connect(server.port) as late:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        late.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert late.recv(65536).startswith(b"HTTP/1.1 200 ")
        late.sendall(b"GET /hea")
        assert drip(slow, b"x: y\r\n")
        assert drip(late, b"l")
        assert silent.recv(1) == b""
    assert server.post("/toy", {"act": {"0": "sleep"}, "sleep_s": 11, "value": 2}) == (
        200,
        {"value": 2},
    )


async def echo(request: Request) -> Any:
    return await read_json(request)


def test_a_slow_body_is_refused_and_then_cut() -> None:
    def attack(port: int) -> bytes:
        with connect(port) as stream:
            head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
            stream.sendall(head.encode())
            answer = b""
            while b"was not here" not in answer:  # head and body may come apart
                assert select.select([stream], [], [], 30)[0]
                answer += stream.recv(65536)
            assert drip(stream, b"x")
        return answer

    async def main() -> bytes:
        app = FastAPI()
        app.add_middleware(Admission, host="127.0.0.1", body_deadline_s=0.2)
        add_error_handlers(app)
        app.post("/echo")(echo)
        listener = socket.create_server(("127.0.0.1", 0))
        async with serve_http(app, listener):
            return await asyncio.to_thread(attack, listener.getsockname()[1])

    answer = asyncio.run(main())
    assert answer.startswith(b"HTTP/1.1 400 ") and b"was not here within 0.2 s" in answer


def test_the_model_folder_is_not_run(tmp_path: Path) -> None:
    """A server that was started in a folder with a torch.py in it: that is not torch."""
    (tmp_path / "torch.py").write_text("open('ran', 'w').close()\nraise SystemExit('foreign')\n")
    with run_server(tmp_path / "log", "--model", str(tmp_path), program=TOY) as server:
        server.wait_ready()
    assert not (tmp_path / "ran").exists()

"""A real registry on loopback, and what may stand between it and us."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.needs import require

_CONFIG = """
version: 0.1
storage:
  filesystem: {{ rootdirectory: {root} }}
  delete: {{ enabled: true }}
http: {{ addr: "127.0.0.1:{port}" }}
{more}
"""


def find_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def serve_registry(folder: Path, more: str = "") -> Iterator[str]:
    """Debian's docker-registry with a filesystem root in this folder. Yields HOST:PORT."""
    require("docker-registry")
    folder.mkdir(parents=True, exist_ok=True)
    port = find_port()
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(root=folder / "root", port=port, more=more))
    with (folder / "log").open("wb") as log:
        command = ["docker-registry", "serve", str(config)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, "the registry ended"
            assert time.monotonic() < deadline, "the registry does not listen"
            time.sleep(0.02)


class _Proxy(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextlib.contextmanager
def serve_proxy(
    upstream: str, change: Callable[[int, bytes], bytes | None]
) -> Iterator[tuple[str, list[bytes]]]:
    """Bytes to and from `upstream`. change(number of the connection, what the registry answers) →
    what is passed on; None cuts the connection. Yields its HOST:PORT and the requests it saw."""
    host, _, port = upstream.partition(":")
    seen: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            number = len(seen)
            with socket.create_connection((host, int(port)), 30) as registry:
                threading.Thread(target=self._forward, args=(registry,), daemon=True).start()
                with contextlib.suppress(OSError):
                    while data := registry.recv(1 << 16):
                        changed = change(number, data)
                        if changed is None:
                            break
                        self.request.sendall(changed)
                with contextlib.suppress(OSError):
                    self.request.shutdown(socket.SHUT_RDWR)

        def _forward(self, registry: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := self.request.recv(1 << 16):
                    seen.append(data)
                    registry.sendall(data)

    with _Proxy(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()


def make_answer(status: int, *header: str) -> Callable[[Any], None]:
    """For `serve_answers`: this status, this header, and no body."""

    def answer(handler: Any) -> None:
        handler.send_response(status)
        if header:
            handler.send_header(*header)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@contextlib.contextmanager
def serve_answers(answer: Callable[[Any], None]) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that answers each request as `answer(handler)` does. Yields HOST:PORT and the
    paths that were asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            paths.append(f"{self.command} {self.path}")
            with contextlib.suppress(OSError):
                answer(self)

        do_GET = do_HEAD = do_POST = do_PUT = _answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}", paths
    finally:
        server.shutdown()
        server.server_close()

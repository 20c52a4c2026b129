"""HTTP servers that misbehave: `http_faulty.py PORT MODE [ARGUMENT]`.

Plain sockets, so that a mode can do what no HTTP library would let it. Standard library only.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

Handle = Callable[[socket.socket, bytes], None]


def answer(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


OK = answer("200 OK", b"fine")
REDIRECT = answer("307 Temporary Redirect", b"", "Location: http://example.org/")


def listen(port: int, *, reuse_port: bool = False) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.bind(("127.0.0.1", port))
    server.listen(64)
    return server


def read_request(client: socket.socket) -> bytes:
    """The header and as much of the body as it announces."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line[15:] for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
    while len(body) < int((lengths or [b"0"])[0]):
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


def serve(server: socket.socket, handle: Handle) -> None:
    def run(client: socket.socket) -> None:
        with client:
            try:
                handle(client, read_request(client))
            except ConnectionError:
                return  # the client has lost its patience

    while True:
        threading.Thread(target=run, args=(server.accept()[0],), daemon=True).start()


def say(data: bytes) -> Handle:
    return lambda client, _: client.sendall(data)


def drip(client: socket.socket, _: bytes) -> None:
    for byte in OK:
        client.sendall(bytes([byte]))
        time.sleep(0.5)


def repeat(start: bytes, piece: bytes) -> Handle:
    def handle(client: socket.socket, _: bytes) -> None:
        client.sendall(start)
        while True:
            client.sendall(piece)

    return handle


def hang(client: socket.socket, _: bytes) -> None:
    client.recv(1)  # until the client hangs up


def close(client: socket.socket, _: bytes) -> None:
    return


def ok_after(seconds: str) -> Handle:
    def handle(client: socket.socket, _: bytes) -> None:
        time.sleep(float(seconds))
        client.sendall(OK)

    return handle


def ok_when(path: str) -> Handle:
    def handle(client: socket.socket, _: bytes) -> None:
        warming = answer("503 Service Unavailable", b'{"status":"warming_up"}')
        client.sendall(OK if Path(path).exists() else warming)

    return handle


def die(client: socket.socket, _: bytes) -> None:
    os._exit(7)


def print_and_hang(text: str) -> Handle:
    def handle(client: socket.socket, request: bytes) -> None:
        print(text, flush=True)
        hang(client, request)

    return handle


def echo(client: socket.socket, request: bytes) -> None:
    client.sendall(answer("201 Created", request))


def echo_together(number: str) -> Handle:
    """Nobody is answered before that many wait."""
    barrier = threading.Barrier(int(number))

    def handle(client: socket.socket, request: bytes) -> None:
        barrier.wait(60)
        echo(client, request)

    return at_request(handle)


def at_request(act: Handle) -> Handle:
    """200 to every GET; anything else is the first real request."""

    def handle(client: socket.socket, request: bytes) -> None:
        (say(OK) if request.startswith(b"GET") else act)(client, request)

    return handle


def serve_beside_worker(port: int, code: str, act: Handle, *, reap: bool = False) -> None:
    """The leader answers 200 whatever becomes of its worker."""
    if reap:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server = listen(port)
    worker = subprocess.Popen([sys.executable, "-I", "-S", "-c", code])
    Path(f"{port}.worker").write_text(str(worker.pid))
    serve(server, at_request(act))


def fail_when_told(port: int) -> None:
    """A launcher with a worker; it fails once there is a file `PORT.fail`."""
    worker = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
    Path(f"{port}.worker").write_text(str(worker.pid))
    while not Path(f"{port}.fail").exists():
        time.sleep(0.01)
    raise RuntimeError("no accelerator")


def point_elsewhere(port: int, text: str) -> None:
    """A launcher that collects its dead worker and says this of it."""
    worker = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
    Path(f"{port}.worker").write_text(str(worker.pid))
    worker.wait()
    stay_silent(text)


def serve_from_child(port: int) -> None:
    """The leader leaves with status 0, its child serves (gunicorn --daemon)."""
    server = listen(port)
    if os.fork() == 0:
        serve(server, say(OK))
    raise SystemExit(0)


def stay_silent(text: str) -> None:
    print(text, flush=True)
    time.sleep(600)


def main() -> None:
    port, mode, argument = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    print(f"toy in mode {mode}", flush=True)
    sleep = "import time; time.sleep(600)"
    specials: dict[str, Callable[[], None]] = {
        "exit": lambda: sys.exit(int(argument)),
        "silent": lambda: stay_silent(argument),
        "elsewhere": lambda: serve(listen(port + 1), say(OK)),
        "reuse_port": lambda: serve(listen(port, reuse_port=True), say(OK)),
        "fail_when_told": lambda: fail_when_told(port),
        "point_elsewhere": lambda: point_elsewhere(port, argument),
        "daemon": lambda: serve_from_child(port),
        "idle_worker": lambda: serve_beside_worker(port, sleep, hang),
        "reaped_worker": lambda: serve_beside_worker(port, sleep, hang, reap=True),
        "failed_worker": lambda: serve_beside_worker(port, "raise SystemExit(3)", echo),
        "done_worker": lambda: serve_beside_worker(port, "pass", echo),
    }
    handles: dict[str, Callable[[], Handle]] = {
        "ok": lambda: say(OK),
        "hang": lambda: hang,
        "close": lambda: close,
        "drip": lambda: drip,
        "garbage": lambda: say(b"\x16\x03\x01 this is no HTTP at all\r\n\r\n"),
        "garbage_status": lambda: say(b"HTTP/1.1 fine OK\r\n\r\n"),
        "endless_header": lambda: repeat(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"),
        "endless_interim": lambda: repeat(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        "endless_body": lambda: repeat(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
        "cut_body": lambda: say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
        "redirect": lambda: say(REDIRECT),
        "unhealthy": lambda: say(answer("503 Service Unavailable", argument.encode())),
        "forbidden": lambda: say(answer("403 Forbidden", argument.encode())),
        "slow": lambda: ok_after(argument),
        "ok_when": lambda: ok_when(argument),
        "echo": lambda: at_request(echo),
        "echo_together": lambda: echo_together(argument),
        "dies_of_request": lambda: at_request(die),
        "prints_at_request": lambda: at_request(print_and_hang(argument)),
        "hangs_at_request": lambda: at_request(hang),
        "drips_at_request": lambda: at_request(drip),
        "closes_at_request": lambda: at_request(close),
    }
    if mode in specials:
        specials[mode]()
    serve(listen(port), handles[mode]())


if __name__ == "__main__":
    main()

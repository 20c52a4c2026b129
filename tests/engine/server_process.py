"""A real server process for tests: started, waited for on its own words, ended, nothing left."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DEADLINE_S = 150.0
ENGINE = (sys.executable, "-m", "warmup.engine.serve")
TOY = (sys.executable, "-m", "tests.engine.toy_server")


def wait_for(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """The first true answer of `condition`."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"no {what} within {deadline_s} s")


def is_alive(pid: int) -> bool:
    """A zombie is dead; whoever adopted it has just not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_dead(pid: int) -> None:
    wait_for(lambda: not is_alive(pid), f"end of process {pid}", 10)


def send_until_answered(stream: socket.socket, chunk: bytes, at_most: int) -> int:
    """Bytes that the server took before it answered or hung up."""
    num_sent = 0
    while num_sent < at_most and not select.select([stream], [], [], 0)[0]:
        try:
            stream.sendall(chunk)
        except OSError:
            break
        num_sent += len(chunk)
    return num_sent


class ServerProcess:
    """`port` is known once HTTP is up. The log is stdout and stderr together."""

    def __init__(self, log: Path, command: tuple[str, ...], env: dict[str, str]) -> None:
        self.log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            )

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def port(self) -> int:
        return int(self.text.split("HTTP is up on http://127.0.0.1:")[1].split()[0])

    def wait_live(self) -> None:
        def look() -> bool:
            assert self.process.poll() is None, self.text
            return "HTTP is up on" in self.text

        wait_for(look, "HTTP")

    def wait_ready(self) -> None:
        self.wait_live()

        def look() -> bool:
            assert self.process.poll() is None, self.text
            return self.get("/health")[0] == 200

        wait_for(look, "readiness")

    def wait_exit(self, deadline_s: float = DEADLINE_S) -> int:
        return self.process.wait(deadline_s)

    def get_ranks(self) -> list[int]:
        """The pids of the ranks: the server's children."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
        """Status, headers, and the body: decoded if it is JSON."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            data = response.read()
            headers = {key.lower(): value for key, value in response.getheaders()}
        if headers.get("content-type", "").startswith("application/json"):
            return response.status, headers, json.loads(data)
        return response.status, headers, data

    def get(self, path: str) -> tuple[int, Any]:
        try:
            status, _, body = self.request("GET", path)
        except (OSError, HTTPException) as error:
            return 0, str(error)
        return status, body

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        status, _, answer = self.request("POST", path, body)
        return status, answer

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait_exit(20)


@contextlib.contextmanager
def run_server(
    log: Path, *argv: str, program: tuple[str, ...] = ENGINE, env: dict[str, str] | None = None
) -> Iterator[ServerProcess]:
    """Started at once, waited for by the caller; whatever it does, nothing of it is left."""
    server = ServerProcess(log, (*program, *argv, "--port", "0"), env or {})
    try:
        yield server
    except BaseException:
        print(server.text)
        raise
    finally:
        ranks: list[int] = []
        if server.process.poll() is None:
            ranks = server.get_ranks()
            server.process.terminate()
            try:
                server.process.wait(20)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait(20)
        for rank in ranks:
            wait_dead(rank)

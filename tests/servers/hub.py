"""Enough of the hub's protocol for huggingface_hub to download from: one commit of each model.

Sources: huggingface_hub 2.4, hf_api.py (repo_info, list_repo_tree) and file_download.py
(get_hf_file_metadata).
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


@dataclass
class Hub:
    """url: for HF_ENDPOINT. fetched: paths of the files whose bytes were asked for.

    asked: set at the first request. hold: while it is not set, no request is answered.
    """

    url: str = ""
    fetched: list[str] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)
    hold: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serve_hub(models: Mapping[str, Path]) -> Iterator[Hub]:
    """models: id → the folder of its files. Every request is answered, unless `hold` is cleared."""
    hub = Hub()
    hub.hold.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, *args: object) -> None:
            pass

        def _answer(self) -> None:
            hub.asked.set()
            hub.hold.wait(60)
            path = unquote(urlsplit(self.path).path).strip("/")
            for model, folder in models.items():
                if path.startswith(f"api/models/{model}/tree/"):
                    self._send(json.dumps(list(map(self._describe, _list(folder)))).encode())
                    return
                if path == f"api/models/{model}" or path.startswith(f"api/models/{model}/revision"):
                    names = [{"rfilename": name} for name, _ in _list(folder)]
                    self._send(json.dumps({"id": model, "sha": COMMIT, "siblings": names}).encode())
                    return
                if path.startswith(f"{model}/resolve/"):
                    name = path.removeprefix(f"{model}/resolve/").partition("/")[2]
                    self._send_file(folder / name, name)
                    return
            self._send(b"{}", 404, {"X-Error-Code": "RepoNotFound"})

        def _describe(self, item: tuple[str, Path]) -> dict[str, object]:
            name, path = item
            return {"type": "file", "path": name, "size": path.stat().st_size, "oid": _hash(path)}

        def _send_file(self, path: Path, name: str) -> None:
            if not path.is_file():
                self._send(b"", 404, {"X-Error-Code": "EntryNotFound"})
                return
            if self.command == "GET":
                hub.fetched.append(name)
            headers = {"ETag": f'"{_hash(path)}"', "X-Repo-Commit": COMMIT}
            self._send(path.read_bytes(), 200, headers)

        def _send(
            self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        hub.hold.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


def _list(folder: Path) -> list[tuple[str, Path]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path) for path in paths]


def _hash(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()

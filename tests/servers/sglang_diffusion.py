"""What sglang-diffusion 0.5.23 does with its ports, and nothing else of it.

A test installs it as `sglang.multimodal_gen.runtime.entrypoints.cli.main`. The request broker
takes HTTP's port + 1, unasked; where that fails the server lives on, unhealthy for ever.
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()  # as much as a judge looks at


def listen(port: int) -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", port))
    server.listen()
    return server


class Handler(BaseHTTPRequestHandler):
    fault: str | None = None

    def reply(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.fault is None:
            self.reply(200, {"status": "healthy"})
        else:
            self.reply(503, {"status": "unhealthy", "error": self.fault})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(200, {"data": [{"b64_json": PNG}]})

    def log_message(self, format: str, *values: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("serve")
    for name in ("model-path", "num-gpus", "host", "strict-ports"):
        parser.add_argument(f"--{name}")
    for name in ("port", "master-port", "scheduler-port"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--broker-dies", action="store_true")
    args = parser.parse_args()
    held = [listen(args.master_port), listen(args.scheduler_port)]
    try:
        held.append(listen(args.port + 1))
    except OSError:
        Handler.fault = "Offline request broker exited; restart the server."
    if args.broker_dies:
        Handler.fault = "Offline request broker exited; restart the server."
    HTTPServer(("127.0.0.1", args.port), Handler).serve_forever()


if __name__ == "__main__":
    main()

"""A well-behaved toy engine: compiles one "kernel" into TRITON_CACHE_DIR at its first request, and
NAME at /compile/NAME; /fail answers 500, /hang does not answer.

`http_toy.py --port P [--answer STATUS] [--always-compile] [--die-on-request] [--raise-on-request]
[--print TEXT] [--ignore-term] [--flood-on-term BYTES] [--freeze-on-term CGROUP] [--body TEXT]
[--tune NAME]`
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--model", default="toy")
parser.add_argument("--answer", type=int, default=200)
parser.add_argument("--answer-after", type=float, default=0.0, help="seconds")
parser.add_argument("--first-after", type=float, default=0.0, help="seconds, of /generate")
parser.add_argument("--kernel", default="add")
parser.add_argument("--always-compile", action="store_true")
parser.add_argument("--tune", default="", help="a kernel, at each boot, as Triton saves it")
parser.add_argument("--die-on-request", action="store_true")
parser.add_argument("--raise-on-request", action="store_true", help="and leak, as Triton does")
parser.add_argument("--never-ready", action="store_true")
parser.add_argument("--ignore-term", action="store_true")
parser.add_argument("--flood-on-term", type=int, help="bytes to print before it ends")
parser.add_argument("--freeze-on-term", type=Path, help="a cgroup v1 freezer to enter then")
parser.add_argument("--body", default="", help="in the answer; $NAME is expanded")
parser.add_argument("--api-key", default="")
parser.add_argument("--hf-token", default="")
parser.add_argument("--url", default="")
parser.add_argument("--expand", default="", help="printed; $NAME is expanded")
parser.add_argument("--print", dest="text", default="")
args = parser.parse_args()


def compile_kernel(name: str) -> None:
    cache = Path(os.environ["TRITON_CACHE_DIR"])
    suffix = str(time.time_ns()) if args.always_compile else ""
    entry = cache / f"HASH{name.upper()}{suffix}"
    if not entry.exists():
        entry.mkdir(parents=True, exist_ok=True)  # a neighbour may compile it too
        (entry / f"{name}.json").write_text("{}")
        (entry / f"{name}.cubin").write_bytes(b"\x7fELF" + os.urandom(60))


def tune() -> None:
    """Of `--tune`, where $NAME is expanded. TOY_HANGS: never answer after it."""
    name = os.path.expandvars(args.tune)
    folder = Path(os.environ["TRITON_CACHE_DIR"]) / f"HASHTUNED{name.upper()}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.autotune.json").write_text(f'{{"timed": {time.time_ns()}}}')
    if os.environ.get("TOY_HANGS"):
        time.sleep(600)


class Handler(BaseHTTPRequestHandler):
    def reply(self, status: int) -> None:
        body = b'{"text": "warmed up%s"}' % os.path.expandvars(args.body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.reply(503 if args.never_ready else 200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if args.die_on_request:
            os._exit(3)
        if args.raise_on_request:
            print(
                "Traceback (most recent call last):\n  File 'a.py', line 1\nRuntimeError: no device"
            )
            print("nanobind: leaked 60 types!" + "\n - leaked type 'ir.block'" * 60, flush=True)
            os._exit(1)
        time.sleep(600 if self.path == "/hang" else args.answer_after)
        time.sleep(args.first_after if self.path == "/generate" else 0)
        _, is_named, name = self.path.partition("/compile/")
        compile_kernel(name if is_named else args.kernel)
        if args.tune:
            tune()
        self.reply(500 if self.path == "/fail" else args.answer)

    def log_message(self, format: str, *values: object) -> None:
        host, port = self.client_address  # as uvicorn has it
        print(f"INFO:     {host}:{port} - {format % values}", flush=True)


def flood(*_: object) -> None:
    for _index in range(args.flood_on_term >> 20):
        os.write(1, b"x" * (1 << 20))
    os._exit(0)


def freeze(*_: object) -> None:
    (args.freeze_on_term / "cgroup.procs").write_text(str(os.getpid()))
    (args.freeze_on_term / "freezer.state").write_text("FROZEN")


if args.freeze_on_term:
    signal.signal(signal.SIGTERM, freeze)
if args.flood_on_term:
    signal.signal(signal.SIGTERM, flood)
if args.ignore_term:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(args.text, flush=True)
if args.expand:
    print(os.path.expandvars(args.expand), args.api_key, args.url, flush=True)
ThreadingHTTPServer(("127.0.0.1", args.port), Handler).serve_forever()

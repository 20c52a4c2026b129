"""A server for `tools/pictures.py`: it loads for a while, and compiles what its requests ask for.

`demo_server.py --port P [--load-s S] [--fail]`; POST `{"triton": n, "deep_gemm": m}` makes sure
that so many entries of each are there, each in a fraction of a second where real ones take more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMPILE_S = {"triton": 0.02, "deep_gemm": 0.04}

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--name", default="demo")
parser.add_argument("--load-s", type=float, default=1.0)
parser.add_argument("--fail", action="store_true")
args = parser.parse_args()


def compile_kernel(family: str, number: int) -> None:
    """An entry as the family leaves it."""
    if family == "triton":
        entry = Path(os.environ["TRITON_CACHE_DIR"]) / f"{args.name.upper()}{number:04}"
        files = {"moe_kernel.json": b"{}", "moe_kernel.cubin": b"\x7fELF" + os.urandom(60)}
    else:
        root = Path(os.environ["DG_JIT_CACHE_DIR"]) / "cache"
        entry = root / f"kernel.{args.name}_fp8_gemm.{number:032x}"
        files = {"kernel.cu": b"// source\n", "kernel.cubin": os.urandom(64)}
    if not entry.exists():
        time.sleep(COMPILE_S[family])
        entry.mkdir(parents=True)
        for name, data in files.items():
            (entry / name).write_bytes(data)


class Handler(BaseHTTPRequestHandler):
    def reply(self) -> None:
        body = b'{"text": "warm"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.reply()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if args.fail:
            try:
                raise RuntimeError("expert 61 of 256 has no fp8 scale")
            except RuntimeError:
                traceback.print_exc(file=sys.stdout)
                sys.stdout.flush()
                os._exit(1)
        for family, count in asked.items():
            for number in range(count):
                compile_kernel(family, number)
            print(f"compiled {count} {family} kernels", flush=True)
        self.reply()

    def log_message(self, format: str, *values: object) -> None:
        print(f"INFO:     {format % values}", flush=True)


for step in range(4):
    print(f"Loading checkpoint shards: {25 * step}% of {args.name}", flush=True)
    time.sleep(args.load_s / 4)
print("Uvicorn running", flush=True)
ThreadingHTTPServer(("127.0.0.1", args.port), Handler).serve_forever()

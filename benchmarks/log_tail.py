"""The last 30 lines of a server's log, beside reading all of its lines.

`python -m benchmarks.log_tail [MIB]`; writes one log of that size (default 1024) per shape.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.table import get_machine, get_rss_bytes, median, print_table

ROOT = Path(__file__).resolve().parent.parent
MIB = 1 << 20
SHAPES = {
    "lines of 100 bytes": b"x" * 99 + b"\n",
    "progress bars, \\r only": b" 42%|####      | 4/10 [00:01<00:02, 2.1it/s]\r",
    "no line end at all": b"x" * 100,
}
TAIL = """
import sys, time
from pathlib import Path
from warmup.supervise.log.tail import read_tail
from warmup.words.secrets import Redactor
redactor = Redactor.from_environment({"HF_TOKEN": "hf_AbCdEfGhIjKlMnOpQrStUvWxYz"})
began = time.perf_counter()
read_tail(Path(sys.argv[1]), max_lines=30, redactor=redactor)
print(time.perf_counter() - began)
"""
READLINES = """
import sys, time
began = time.perf_counter()
with open(sys.argv[1], errors="replace") as log:
    log.readlines()[-30:]
print(time.perf_counter() - began)
"""


def write_log(path: Path, piece: bytes, size: int) -> None:
    block = piece * (MIB // len(piece))
    with path.open("wb") as log:
        while log.tell() < size:
            log.write(block)


def run_once(code: str, path: Path) -> tuple[float, int]:
    """(seconds of the reading alone, peak resident bytes of the process)."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], env=env, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        seconds = float(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return seconds, get_rss_bytes(usage)


def measure(code: str, path: Path, runs: int) -> tuple[float, int]:
    results = [run_once(code, path) for _ in range(runs)]
    return median(seconds for seconds, _ in results), max(rss for _, rss in results)


def main() -> None:
    size = int(sys.argv[1]) * MIB if len(sys.argv) > 1 else 1024 * MIB
    rows = []
    render: Callable[[float], str] = "{:.1f} ms".format
    with tempfile.TemporaryDirectory() as folder:
        for name, piece in SHAPES.items():
            path = Path(folder) / "log"
            write_log(path, piece, size)
            tail_s, tail_bytes = measure(TAIL, path, 9)
            all_s, all_bytes = measure(READLINES, path, 1)
            path.unlink()
            rows.append(
                [
                    name,
                    render(tail_s * 1e3),
                    f"{tail_bytes / MIB:.0f} MiB",
                    render(all_s * 1e3),
                    f"{all_bytes / MIB:.0f} MiB",
                    f"{tail_s / all_s:.5f}",
                    f"{tail_bytes / all_bytes:.3f}",
                ]
            )
    print(f"Last 30 lines of a log of {size // MIB} MiB. {get_machine()}\n")
    head = ["log", "read_tail", "peak RSS", "readlines", "peak RSS", "time ratio", "memory ratio"]
    print_table(head, rows)


if __name__ == "__main__":
    main()

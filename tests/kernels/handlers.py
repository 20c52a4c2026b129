"""A compile worker's handler for tests: it does what each job says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def start(args: list[str]) -> Callable[[dict[str, Any]], Any]:
    if args == ["broken"]:
        raise ImportError("No module named 'deep_gemm'")
    if args == ["silent"]:
        time.sleep(600)
    return handle


def handle(payload: dict[str, Any]) -> Any:
    print("noise that must not reach the answers", flush=True)
    if "die" in payload:
        path = Path(payload["die"])
        if not path.exists() or payload.get("always"):
            path.touch()
            os.kill(os.getpid(), 9)
    if "orphan" in payload:
        # As a library's popen starts a compiler: with every descriptor that may be inherited.
        child = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False
        )
        Path(payload["orphan"]).write_text(str(child.pid))
        os.kill(os.getpid(), 9)
    if "fail" in payload:
        raise ValueError(payload["fail"])
    if "child" in payload:
        # A compiler that does not end by itself; its pid tells the test that it has begun.
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        temporary = Path(payload["child"] + ".tmp")
        temporary.write_text(str(child.pid))
        temporary.rename(payload["child"])
        child.wait()
    if "spin" in payload:
        total = 0
        for number in range(payload["spin"]):
            total += number * number
    return payload.get("value", os.getpid())

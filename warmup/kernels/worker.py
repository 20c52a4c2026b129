"""The loop of one compile worker: a line of JSON in, a line of JSON out.

Run by its path under the interpreter of the server's environment, where warmup-ci may be missing,
so it uses the standard library alone:

    python worker.py HANDLER_FILE ANSWERS_FD PARENT_PID [ARG…]

HANDLER_FILE is a module with `start(args) -> handle`, and `handle(payload) -> answer`. Answers go
to their own descriptor: what compilers and libraries print must not end up among them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import signal
import sys
import time
import traceback
from typing import Any

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    handler, descriptor, parent, *args = argv
    _die_with(int(parent))
    os.set_inheritable(int(descriptor), False)  # its end says that we have ended, not a compiler
    # The folder of this file holds modules of ours whose names another environment may use.
    del sys.path[0]
    with os.fdopen(int(descriptor), "w", encoding="utf-8") as answers:
        try:
            handle = _load(handler).start(args)
        except Exception as error:
            traceback.print_exc()
            _tell(answers, {"error": _describe(error)})
            return 1
        _tell(answers, {"ready": True})
        for line in sys.stdin:
            _tell(answers, _answer(handle, json.loads(line)))
    return 0


def _answer(handle: Any, payload: dict[str, Any]) -> dict[str, Any]:
    begin = time.monotonic()
    try:
        told: dict[str, Any] = {"answer": handle(payload)}
    except Exception as error:
        # One job's failure is an answer; the worker goes on with the others.
        told = {"error": _describe(error)}
    return {**told, "seconds": time.monotonic() - begin}


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:4000]


def _tell(answers: Any, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def _load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("warmup_ci_handler", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _die_with(parent: int) -> None:
    """Be killed when the orchestrator dies, however it dies (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SystemExit("the orchestrator is gone")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""From a toy server's first possible 200 to the moment it is known, and what the waiting costs.

`python -m benchmarks.readiness_latency [RUNS]`. The rival is what scripts do: ask with requests,
sleep ten seconds, ask again. Its few runs take ten seconds each.
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.table import get_machine, median, print_table
from tests.supervise.toys import Toy, run_toy
from warmup.supervise.watch.readiness import NotReady, wait_until_ready

RIVAL_RUNS = 5
WAIT_S = 20.0


def wait(toy: Toy, timeout_s: float) -> None:
    wait_until_ready(
        toy.server,
        toy.supervisor,
        port=toy.port,
        path="/health",
        timeout_s=timeout_s,
        log_watch=toy.watch,
    )


def poll_every_ten_seconds(toy: Toy, timeout_s: float) -> None:
    import requests

    url = f"http://127.0.0.1:{toy.port}/health"
    while requests.get(url, timeout=timeout_s).status_code != 200:
        time.sleep(10)


def measure(wait_for_it: Callable[[Toy, float], None], spread_s: float) -> float:
    """Seconds from the moment that the server would say 200 to the return of the waiting."""
    with tempfile.TemporaryDirectory() as name:
        ready = Path(name) / "ready"
        moments = []

        def become_ready() -> None:
            ready.touch()
            moments.append(time.monotonic())

        with run_toy(Path(name), "ok_when", str(ready)) as toy:
            toy.wait_until_listening()
            timer = threading.Timer(0.5 + random.random() * spread_s, become_ready)
            timer.start()
            wait_for_it(toy, 60.0)
            known = time.monotonic()
            timer.join()
    return known - moments[0]


def measure_cpu(mode: str) -> float:
    """Share of one core that this process takes while it waits."""
    with tempfile.TemporaryDirectory() as name, run_toy(Path(name), mode, "/nonexistent") as toy:
        wall, cpu = time.monotonic(), time.process_time()
        try:
            wait(toy, WAIT_S)
        except NotReady:
            return (time.process_time() - cpu) / (time.monotonic() - wall)
    raise RuntimeError("the toy became ready")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    ours = [measure(wait, 1.0) for _ in range(runs)]
    theirs = [measure(poll_every_ten_seconds, 10.0) for _ in range(RIVAL_RUNS)]
    print(f"From a server's first 200 to the moment it is known. {get_machine()}\n")
    print_table(
        ["", "runs", "median", "slowest", "ratio of medians"],
        [
            ["wait_until_ready", str(runs), f"{median(ours):.3f} s", f"{max(ours):.3f} s", ""],
            [
                "requests every 10 s",
                str(RIVAL_RUNS),
                f"{median(theirs):.3f} s",
                f"{max(theirs):.3f} s",
                f"{median(ours) / median(theirs):.3f}",
            ],
        ],
    )
    print(f"\nThis process' own CPU time while it waits {WAIT_S:g} s for a server:\n")
    names = {"silent": "refuses connections", "ok_when": "answers 503", "hang": "does not answer"}
    rows = [[names[mode], f"{measure_cpu(mode) * 100:.2f} % of a core"] for mode in names]
    print_table(["the server", "CPU"], rows)


if __name__ == "__main__":
    main()

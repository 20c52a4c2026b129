"""Ending a server's tree after its grace, beside what engines do: snapshot it with psutil and kill.

`python -m benchmarks.stop_tree [RUNS]`. Survivors are counted by cookie and ended afterwards; where
there are some, the times do not compare.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.table import get_machine, median, print_table
from tests.supervise.trees import get_toy, wait_until
from warmup.supervise.tree import clear, cookie, proc
from warmup.supervise.tree.supervisor import Supervisor

# Bounds what the rival leaves running: it is ended afterwards, unless this is interrupted.
MAX_FORKS = 5_000
SETTLE_S = 0.2
TREES: dict[str, Callable[[Path], list[str]]] = {
    "200 idle processes": lambda ready: get_toy("tree_many", ready, 200),
    "4 chains that fork and exit": lambda ready: get_toy("tree_forks", "chain", ready, MAX_FORKS),
    "8 workers and their respawner": lambda ready: get_toy(
        "tree_forks", "respawn", ready, MAX_FORKS
    ),
}


def settle(ready: Path) -> None:
    """Until the tree is up; then some time in which its last workers come up too."""
    wait_until(ready.exists)
    time.sleep(SETTLE_S)


def count_living(cookies: range) -> int:
    """Those that live, or else those that ended in the last tenth of a second: a look at /proc may
    miss every link of a chain that forks and exits."""
    before = set(cookie.list_bearers(cookies))
    time.sleep(0.1)
    after = cookie.list_bearers(cookies)
    return sum(proc.is_living(pid) for pid in after) or len(set(after) - before)


def stop_ours(folder: Path, argv: list[str], ready: Path) -> tuple[float, int]:
    """Milliseconds of a stop without grace, and who was left."""
    with Supervisor(folder / "run", warn=print) as supervisor:
        server = supervisor.start(argv, env=dict(os.environ), cwd=folder, log_path=folder / "log")
        settle(ready)
        seconds = server.stop(0).seconds
        return seconds * 1000, count_living(server.cookies)


def stop_psutil(folder: Path, argv: list[str], ready: Path) -> tuple[float, int]:
    """The same by `children(recursive=True)` and a kill of each."""
    import psutil

    drawn = cookie.find_new_cookie()
    assert drawn is not None
    limits = (drawn, resource.RLIM_INFINITY)
    leader = subprocess.Popen(argv, cwd=folder, preexec_fn=lambda: resource.setrlimit(10, limits))
    settle(ready)
    began = time.perf_counter()
    processes = psutil.Process(leader.pid).children(recursive=True)
    for process in [*processes, psutil.Process(leader.pid)]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    leader.wait(5)
    wait_until(lambda: not any(proc.is_living(process.pid) for process in processes))
    spent = time.perf_counter() - began
    num_left = count_living(cookie.get_run_cookies(drawn))
    clear.end_bearers(cookie.get_run_cookies(drawn))
    return spent * 1000, num_left


def measure(
    stop: Callable[[Path, list[str], Path], tuple[float, int]], tree: str, runs: int
) -> tuple[float, int]:
    """Median milliseconds, and the most that were left."""
    results = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as name:
            ready = Path(name) / "ready"
            results.append(stop(Path(name), TREES[tree](ready), ready))
    return median([ms for ms, _ in results]), max(left for _, left in results)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    rows = []
    for tree in TREES:
        ours_ms, ours_left = measure(stop_ours, tree, runs)
        theirs_ms, theirs_left = measure(stop_psutil, tree, runs)
        rows.append(
            [
                tree,
                f"{ours_ms:.1f}",
                str(ours_left),
                f"{theirs_ms:.1f}",
                str(theirs_left),
                "-" if theirs_left else f"{ours_ms / theirs_ms:.2f}",
            ]
        )
    print(get_machine())
    print_table(
        ["tree", "warmup-ci ms", "left", "psutil ms", "left", "ratio of times"],
        rows,
    )


if __name__ == "__main__":
    main()

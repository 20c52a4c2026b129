"""What `exec -- CMD` adds to a command: beside the command itself, and a Python that does nothing.

    python -m benchmarks.exec_overhead [RUNS]

The commands take turns, so that a machine which grows busy is so for all. Processor time is that of
every process in it; where others use the machine it says more than the time that passes. Bytecode
is compiled beforehand, as an installation does.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.table import get_machine, median, print_table

ROOT = Path(__file__).resolve().parent.parent
COMMAND = ["true"]


def measure(command: Sequence[str], env: Mapping[str, str], folder: Path) -> tuple[float, float]:
    """Seconds that passed, and of the processor. Raises on a failing run."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=env, cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, list(command))
    return taken, usage.ru_utime + usage.ru_stime


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    program = [sys.executable, "-m", "warmup", "exec"]
    rows = {
        "true": COMMAND,
        "python -c pass": [sys.executable, "-c", "pass"],
        "warmup-ci exec -- true": [*program, "--", *COMMAND],
        "the same with --timeout": [*program, "--timeout", "60", "--", *COMMAND],
    }
    compileall.compile_dir(ROOT / "warmup", quiet=1)
    with tempfile.TemporaryDirectory() as name:
        env = {**os.environ, "HOME": name, "WARMUP_CI_HOME": f"{name}/home"}
        env["PYTHONPATH"] = str(ROOT)
        found: dict[str, list[tuple[float, float]]] = {row: [] for row in rows}
        for index in range(runs + 1):
            for row, command in rows.items():
                taken = measure(command, env, Path(name))
                if index:
                    found[row].append(taken)
    print(f"{get_machine()}; {runs} runs by turns\n")
    base = median(taken for taken, _ in found["true"])
    print_table(
        ("command", "median ms", "best ms", "overhead ms", "processor ms"),
        [
            (
                row,
                f"{1000 * median(taken for taken, _ in each):.1f}",
                f"{1000 * min(taken for taken, _ in each):.1f}",
                f"{1000 * (median(taken for taken, _ in each) - base):.1f}",
                f"{1000 * median(used for _, used in each):.1f}",
            )
            for row, each in found.items()
        ],
    )


if __name__ == "__main__":
    main()

"""What the benchmarks share: medians, a table, and the machine's own words on what it is."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

__all__ = ["Timing", "get_machine", "median", "print_table", "time_command"]


@dataclass(frozen=True)
class Timing:
    """Of whole processes. seconds: medians of wall time; rss_bytes: the largest peak."""

    seconds: float
    slowest: float
    rss_bytes: int


def time_command(
    command: Sequence[str], *, runs: int, env: Mapping[str, str], cwd: Path | None = None
) -> Timing:
    """Run the command `runs` times after one that is not counted. Raises on a failing run."""
    taken, peak = [], 0
    for index in range(runs + 1):
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, env=env, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, list(command))
        if index:
            taken.append(time.perf_counter() - begin)
        peak = max(peak, get_rss_bytes(usage))
    return Timing(median(taken), max(taken), peak)


def get_rss_bytes(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss * 1024


def get_machine() -> str:
    """One line: kernel, processor, cores, Python."""
    model = "unknown processor"
    with open("/proc/cpuinfo") as lines:  # noqa: PTH123
        for line in lines:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return (
        f"Linux {platform.release()}, {model}, {os.cpu_count()} cores,"
        f" Python {platform.python_version()}"
    )


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table, so that what is printed can be committed as it is."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, ["-" * width for width in widths], *rows):
        print(
            "| "
            + " | ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
            + " |"
        )

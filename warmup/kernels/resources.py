"""How many compile workers this host has room for."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def get_num_workers(num_jobs: int, requested: int | None, bytes_each: int) -> int:
    """As many as jobs, cores and memory allow; at least one. requested: overrides cores alone."""
    cores = requested or len(os.sched_getaffinity(0))
    return max(1, min(num_jobs, cores, _get_available_bytes() // bytes_each))


def _get_available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return sys.maxsize

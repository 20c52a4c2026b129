"""Whether the kernel's out-of-memory killer was at work: a failure of the host, not of a launch."""

from __future__ import annotations

from pathlib import Path

HINT = "the kernel's out-of-memory killer was at work on this host meanwhile"


def find_num_kills() -> int | None:
    """How many processes it has killed since boot, control groups' limits included (Linux 4.13).

    None where /proc/vmstat does not tell.
    """
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
    except (OSError, ValueError, IndexError):
        return None

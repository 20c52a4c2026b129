"""Processes that hang in the GPU's driver: not even SIGKILL ends them, so no job may start."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from warmup.supervise.tree import proc

_DRIVER = "/dev/nvidia"
_NUM_LOOKS = 5
_PAUSE_S = 0.2


def list_stuck_in_driver(driver: str = _DRIVER) -> list[str]:
    """Descriptions of processes that hold a device of the driver and stay in state D for a second.

    driver: how the paths of its devices begin. Where its descriptors are hidden from us
    (another user's) a process is left out. Takes a second where one is found, else milliseconds.
    """
    found = set(_list_waiting(proc.list_pids(), driver))
    for _ in range(_NUM_LOOKS if found else 0):
        time.sleep(_PAUSE_S)
        found &= set(_list_waiting([pid for pid, _ in found], driver))
    return [proc.describe(pid) for pid, _ in sorted(found)]


def _list_waiting(pids: Iterable[int], driver: str) -> list[tuple[int, int]]:
    """(pid, start) of those in state D now that hold a device of the driver."""
    stats = ((pid, proc.find_stat(pid)) for pid in pids)
    return [
        (pid, stat.start)
        for pid, stat in stats
        if stat is not None and stat.state == "D" and _holds(pid, driver)
    ]


def _holds(pid: int, driver: str) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208 - as proc
    except OSError:
        return False  # another user's, or gone
    for name in names:
        try:
            if os.readlink(f"{folder}/{name}").startswith(driver):  # noqa: PTH115
                return True
        except OSError:
            continue
    return False

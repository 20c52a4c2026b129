"""A process that is truly in state D: posix_spawn's parent waits so until its child executes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from warmup.supervise.stuck import list_stuck_in_driver
from warmup.supervise.tree import proc

# The child of the spawn waits for a writer of the FIFO, its parent for the child's exec.
STUCK = """
import os, sys
device = os.open(sys.argv[1], os.O_RDONLY)
wait = [(os.POSIX_SPAWN_OPEN, 9, sys.argv[2], os.O_RDONLY, 0)]
os.waitpid(os.posix_spawn("/bin/true", ["true"], {}, file_actions=wait), 0)
"""


def test_who_stays_in_state_d_with_a_device_is_named(tmp_path: Path) -> None:
    device, fifo = tmp_path / "nvidia0", tmp_path / "fifo"
    device.touch()
    os.mkfifo(fifo)
    argv = [sys.executable, "-c", STUCK, str(device), str(fifo)]
    with subprocess.Popen(argv) as process:
        try:
            deadline = time.monotonic() + 30
            while (stat := proc.find_stat(process.pid)) is None or stat.state != "D":
                assert time.monotonic() < deadline
                time.sleep(0.01)
            (told,) = list_stuck_in_driver(str(tmp_path / "nvidia"))
            assert told.startswith(f"pid {process.pid} (")
            assert list_stuck_in_driver(str(tmp_path / "amd")) == []
        finally:
            writer = os.open(fifo, os.O_RDWR)
            process.wait(30)
            os.close(writer)


def test_who_merely_holds_a_device_is_not(tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    with (tmp_path / "nvidia0").open():
        assert list_stuck_in_driver(str(tmp_path / "nvidia")) == []

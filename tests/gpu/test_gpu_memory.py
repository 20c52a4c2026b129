"""Guarantee 5 on a real GPU: a server that holds several GiB, SIGKILLed, and its memory back."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.supervise.toys import run_command, wait_for
from warmup.supervise.gpu_memory import read_gpus, wait_until_free
from warmup.words.errors import WarmupError

pytestmark = [pytest.mark.gpu, pytest.mark.reads_driver]

GIB = 1 << 30
HOLD = """
import time, torch
held = torch.empty(4 << 30, dtype=torch.uint8, device="cuda").fill_(1)
torch.cuda.synchronize()
open("held", "w").close()
time.sleep(600)
"""


def test_memory_of_a_killed_server_is_seen_to_be_free(tmp_path: Path) -> None:
    before = read_gpus()
    assert before
    with run_command(tmp_path, 0, [sys.executable, "-c", HOLD]) as toy:
        wait_for(lambda: (tmp_path / "held").exists(), "the server holds no memory")
        after = read_gpus()
        assert max(gpu.used_bytes for gpu in after) >= 4 * GIB
        with pytest.raises(WarmupError, match="GPU memory was not given back"):
            wait_until_free(before, toy.supervisor, timeout_s=0.3)
        os.kill(toy.server.leader_pid, signal.SIGKILL)
        wait_until_free(before, toy.supervisor, timeout_s=30)

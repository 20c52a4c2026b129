from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from warmup.supervise.gpu_memory import Gpu, read_gpus, wait_until_free
from warmup.words.errors import Cancelled, WarmupError

GIB = 1 << 30
IDLE = [
    Gpu(index, f"GPU-{index}", "NVIDIA H200", used_bytes=GIB, total_bytes=141 * GIB, pids=(1,))
    for index in range(2)
]


class SignalWaiter:
    def __init__(self, signum: int | None = None) -> None:
        self.signum = signum

    def wait(self, timeout_s: float) -> None:
        time.sleep(min(timeout_s, 0.001))

    def check_cancelled(self) -> None:
        if self.signum is not None:
            raise Cancelled(self.signum, "SIGTERM")


def hold(used_bytes: int, *pids: int) -> list[Gpu]:
    return [IDLE[0], replace(IDLE[1], used_bytes=used_bytes, pids=(1, *pids))]


def answer(*readings: list[Gpu]) -> Callable[[], list[Gpu]]:
    """One after the other, the last one for ever."""
    left = list(readings)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_without_a_gpu_there_is_nothing_to_wait_for() -> None:
    assert wait_until_free([], SignalWaiter(), timeout_s=0, read=answer([])) < 60


def test_memory_that_comes_back() -> None:
    read = answer(hold(90 * GIB, 42), hold(50 * GIB), hold(GIB + 1000))
    assert wait_until_free(IDLE, SignalWaiter(), timeout_s=60, tolerance_bytes=1000, read=read) >= 0
    assert read() == hold(GIB + 1000)


def test_memory_that_stays_names_gpu_bytes_and_holder() -> None:
    read = answer(hold(90 * GIB, os.getpid()))
    with pytest.raises(WarmupError, match="GPU memory was not given back") as caught:
        wait_until_free(IDLE, SignalWaiter(), timeout_s=0.01, tolerance_bytes=0, read=read)
    cause = caught.value.cause or ""
    assert cause.startswith("GPU 1 (NVIDIA H200) holds 91136 MiB more than before, by pid ")
    assert f"pid {os.getpid()} (" in cause
    assert "pid 1 (" not in cause  # it was there before


def test_holder_that_cannot_be_seen() -> None:
    with pytest.raises(WarmupError) as caught:
        wait_until_free(
            IDLE, SignalWaiter(), timeout_s=0, tolerance_bytes=0, read=answer(hold(2 * GIB))
        )
    assert (caught.value.cause or "").endswith("by processes that cannot be seen from here")


def test_gpu_that_is_gone() -> None:
    with pytest.raises(WarmupError) as caught:
        wait_until_free(IDLE, SignalWaiter(), timeout_s=0, read=answer(IDLE[:1]))
    assert caught.value.cause == "GPU 1 (NVIDIA H200) is gone"


def test_cancelled_while_waiting() -> None:
    with pytest.raises(Cancelled):
        wait_until_free(IDLE, SignalWaiter(15), timeout_s=60, read=answer(hold(90 * GIB)))


def test_reading_never_raises_where_there_is_no_driver() -> None:
    assert isinstance(read_gpus(), list)

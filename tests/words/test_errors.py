from __future__ import annotations

import signal

from warmup.words.errors import Cancelled, HostError, WarmupError, find_status


def test_a_cancellation_decides_then_the_host_and_models_not() -> None:
    model, host = WarmupError("a model failed"), HostError("no disk")
    assert find_status([]) is find_status([model]) is None
    assert find_status([model, host]) == 3
    assert find_status([model, host, Cancelled(signal.SIGTERM, "SIGTERM")]) == 143

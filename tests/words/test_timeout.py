from __future__ import annotations

import threading

import pytest

from warmup.words.timeout import call_within


def test_what_returns_or_raises_in_time_does_so_here() -> None:
    assert call_within(60, lambda: threading.current_thread()) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        call_within(60, lambda: 1 // 0)


def test_what_does_not_is_left() -> None:
    ended = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer for 0\.05 s"):
        call_within(0.05, ended.wait)
    ended.set()

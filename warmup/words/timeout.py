"""Waiting no longer than is told for what may never return."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


def call_within(seconds: float, act: Callable[[], _Result]) -> _Result:
    """What it returns, or raises, within this time. Raises TimeoutError; then a thread is left
    behind, which does not keep the process from ending."""
    done: list[_Result] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(act())
        except BaseException as error:  # of the caller's, to be raised there
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer for {seconds:g} s")
    return done[0]

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.supervise.trees import DEADLINE_S
from warmup.supervise import clear, cookie, kernel

_COOKIES = range(cookie.LOWEST + 77_000, cookie.LOWEST + 77_001)


@pytest.fixture
def bearer() -> Iterator[subprocess.Popen[bytes]]:
    limits = (_COOKIES.start, resource.RLIM_INFINITY)
    process = subprocess.Popen(
        ["sleep", "60"], preexec_fn=lambda: resource.setrlimit(10, limits), start_new_session=True
    )
    yield process
    process.kill()
    process.wait(DEADLINE_S)


@pytest.mark.parametrize("has_pidfd", [True, False])
def test_bearers_are_ended_and_nobody_else(
    bearer: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, has_pidfd: bool
) -> None:
    if not has_pidfd:
        monkeypatch.setattr(kernel, "find_pidfd", lambda pid: None)
    other = subprocess.Popen(["sleep", "60"])
    ended = clear.end_bearers(_COOKIES)
    assert dict(ended.killed).get(bearer.pid) == "sleep 60"
    assert ended.survivors == ()
    assert other.poll() is None
    other.kill()
    other.wait(DEADLINE_S)


def test_whom_to_exclude_is_left_alone(bearer: subprocess.Popen[bytes]) -> None:
    assert clear.end_bearers(_COOKIES, exclude=(bearer.pid,)) == clear.Ended()
    assert bearer.poll() is None


def test_a_number_that_was_recycled_before_the_signal_is_not_signalled(
    bearer: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan saw a bearer; by the time its pidfd is open the number is another process's."""
    foreign = subprocess.Popen(["sleep", "60"])
    lists = iter([[foreign.pid], [], []])
    monkeypatch.setattr(cookie, "list_bearers", lambda cookies: next(lists))
    assert clear.end_bearers(_COOKIES) == clear.Ended()
    assert foreign.poll() is None
    foreign.kill()
    foreign.wait(DEADLINE_S)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to have another user's process")
def test_what_cannot_be_ended_is_reported(bearer: subprocess.Popen[bytes]) -> None:
    """As a process in state D cannot be; here it belongs to root and we are nobody."""
    script = (
        "import os; from warmup.supervise import clear\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "clear.DEADLINE_S = 0.1\n"
        f"print(clear.end_bearers(range({_COOKIES.start}, {_COOKIES.stop})))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=DEADLINE_S
    )
    expected = f"Ended(killed=(), survivors=('pid {bearer.pid} (sleep 60), state S',))\n"
    assert result.stdout == expected, result.stderr
    assert bearer.poll() is None

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.supervise.freezer import freeze, make_freezer
from tests.supervise.trees import DEADLINE_S, wait_until
from warmup.supervise.tree import clear, cookie, kernel, proc

_COOKIES = cookie.get_server_cookies(cookie.find_new_cookie() or 0, 0)


@pytest.fixture
def bearer() -> Iterator[int]:
    """Pid of a process that wears the cookie and is the child of one that does not."""
    script = f"(ulimit -S -x {_COOKIES.start}; exec sleep 60) & echo $!; wait"
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: proc.get_command(pid) == "sleep 60")
        yield pid
        if parent.poll() is None:
            os.kill(pid, signal.SIGKILL)
        parent.wait(DEADLINE_S)


@pytest.mark.parametrize("has_pidfd", [True, False])
def test_bearers_are_ended_and_nobody_else(
    bearer: int, monkeypatch: pytest.MonkeyPatch, has_pidfd: bool
) -> None:
    if not has_pidfd:
        monkeypatch.setattr(kernel, "find_pidfd", lambda pid: None)
    other = subprocess.Popen(["sleep", "60"])
    assert clear.end_bearers(_COOKIES) == clear.Ended(((bearer, "sleep 60"),))
    assert not proc.is_living(bearer)
    assert other.poll() is None
    other.kill()
    other.wait(DEADLINE_S)


def test_a_number_that_was_recycled_before_the_signal_is_not_signalled(
    bearer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bearer was seen; when its pidfd is open, who has the number wears no cookie."""
    find_pidfd = kernel.find_pidfd

    def find_changed(pid: int) -> int | None:
        resource.prlimit(pid, 10, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return find_pidfd(pid)

    monkeypatch.setattr(kernel, "find_pidfd", find_changed)
    assert clear.end_bearers(_COOKIES) == clear.Ended()
    assert proc.is_living(bearer)


def test_an_inherited_zombie_is_reaped_and_a_popens_status_is_not() -> None:
    """What a killed shim leaves comes to us; a tool of our own that has just ended must not go."""
    limits = (_COOKIES.start, resource.RLIM_INFINITY)
    inherited = subprocess.Popen(["true"], preexec_fn=lambda: resource.setrlimit(10, limits))
    own = subprocess.Popen(["sh", "-c", "exit 7"])
    for process in (inherited, own):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert clear.end_bearers(_COOKIES) == clear.Ended()
    assert proc.find_stat(inherited.pid) is None
    assert own.wait(DEADLINE_S) == 7
    inherited.wait(DEADLINE_S)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to have another user's process")
def test_what_cannot_be_ended_is_reported(bearer: int) -> None:
    """As a process in state D cannot be; here it belongs to root and we are nobody."""
    script = (
        "import os; from warmup.supervise.tree import clear\n"
        "os.setresuid(65534, 65534, 65534)\n"
        f"print(clear.end_bearers(range({_COOKIES.start}, {_COOKIES.stop}), timeout_s=0.1))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=DEADLINE_S
    )
    expected = f"Ended(killed=(), survivors=('pid {bearer} (sleep 60), state S',))\n"
    assert result.stdout == expected, result.stderr
    assert proc.is_living(bearer)


def test_who_lives_on_is_not_said_to_be_ended(bearer: int) -> None:
    with make_freezer() as freezer:
        freeze(freezer, bearer)
        ended = clear.end_bearers(_COOKIES, timeout_s=1.5)
        assert ended.killed == ()
        assert ended.survivors == (f"pid {bearer} (sleep 60), state D",)
    wait_until(lambda: not proc.is_living(bearer), "the SIGKILL to arrive")

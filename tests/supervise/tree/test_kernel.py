from __future__ import annotations

import os
import select
import signal
import subprocess

import pytest

from tests.supervise.trees import DEADLINE_S
from warmup.supervise.tree import kernel


@pytest.fixture(params=["python", "ctypes"])
def any_python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a Python that was built against old headers and lacks both functions."""
    if request.param == "ctypes":
        monkeypatch.delattr(os, "pidfd_open")
        monkeypatch.delattr(signal, "pidfd_send_signal")


@pytest.mark.usefixtures("any_python")
def test_a_pidfd_signals_its_process_and_then_nobody() -> None:
    process = subprocess.Popen(["sleep", "60"])
    pidfd = kernel.find_pidfd(process.pid)
    assert pidfd is not None
    assert kernel.signal_pidfd(pidfd, signal.SIGKILL)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(DEADLINE_S * 1000)
    assert process.wait(DEADLINE_S) == -signal.SIGKILL
    assert not kernel.signal_pidfd(pidfd, signal.SIGKILL)
    os.close(pidfd)


@pytest.mark.usefixtures("any_python")
def test_no_pidfd_of_a_process_that_is_not_there() -> None:
    with pytest.raises(ProcessLookupError):
        kernel.find_pidfd(1 << 22)  # the first number that Linux never gives out


def test_a_kernel_without_pidfd_answers_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert kernel.find_pidfd(os.getpid()) is None


def test_the_subreaper_flag_is_set_and_cleared() -> None:
    was = kernel.is_subreaper()
    for on in (True, False, was):
        assert kernel.set_subreaper(on)
        assert kernel.is_subreaper() == on


def test_an_unknown_death_signal_is_refused() -> None:
    assert not kernel.set_death_signal(9999)


def test_without_a_c_library_nothing_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_find_libc", lambda: None)
    monkeypatch.delattr(os, "pidfd_open")
    assert not kernel.set_subreaper(True)
    assert not kernel.is_subreaper()
    assert kernel.find_pidfd(os.getpid()) is None

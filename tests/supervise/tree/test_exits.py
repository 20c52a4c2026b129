from __future__ import annotations

import signal
import subprocess

import pytest

from warmup.supervise.tree.exits import ExitKind, LeaderExit, describe_status, is_from_outside

_EXITED, _KILLED = ExitKind.EXITED, ExitKind.KILLED


@pytest.mark.parametrize(
    ("ended", "is_own_doing", "may_be_in_log"),
    [
        (LeaderExit(_EXITED, 0), True, False),
        (LeaderExit(_EXITED, 7 << 8), True, True),
        (LeaderExit(_KILLED, signal.SIGSEGV), True, True),
        (LeaderExit(_KILLED, signal.SIGABRT), True, True),
        (LeaderExit(_KILLED, signal.SIGKILL, is_oom=True), False, False),
        (LeaderExit(_KILLED, signal.SIGTERM), False, False),
        (LeaderExit(_KILLED, signal.SIGQUIT), False, False),
        (LeaderExit(ExitKind.LOST_SHIM), False, False),
        (LeaderExit(ExitKind.BROKE_SHIM, detail="x"), False, False),
        (LeaderExit(ExitKind.ENDED_BY_US), False, False),
    ],
)
def test_whose_doing_an_end_was(ended: LeaderExit, is_own_doing: bool, may_be_in_log: bool) -> None:
    assert (ended.is_own_doing, ended.may_be_in_log) == (is_own_doing, may_be_in_log)


@pytest.mark.parametrize(
    ("script", "text", "outside"),
    [
        ("exit 7", "exited with status 7", False),
        ("kill -SEGV $$", "was killed by SIGSEGV", False),
        ("kill -KILL $$", "was killed by SIGKILL", True),
        ("kill -40 $$", "was killed by signal 40", False),
    ],
)
def test_a_real_status_is_told(script: str, text: str, outside: bool) -> None:
    process = subprocess.Popen(["sh", "-c", script])
    code = process.wait(30)
    status = -code if code < 0 else code << 8
    assert describe_status(status) == text
    assert is_from_outside(status) == outside

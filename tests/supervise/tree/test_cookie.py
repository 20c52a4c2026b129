from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.tree_nasty import KINDS, TITLE
from tests.supervise.trees import DEADLINE_S, get_toy, wait_until
from warmup.supervise.tree import clear, cookie, proc

_RLIMIT_LOCKS = 10


def spawn(argv: list[str], limits: tuple[int, int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv, preexec_fn=lambda: resource.setrlimit(_RLIMIT_LOCKS, limits), stdin=subprocess.PIPE
    )


def test_two_runs_draw_two_numbers() -> None:
    drawn = {cookie.find_new_cookie() for _ in range(100)}
    assert None not in drawn
    assert len(drawn) == 100
    assert all(cookie.LOWEST <= (number or 0) < 1 << 62 for number in drawn)


@pytest.mark.parametrize(
    ("hard", "can"), [(1000, False), (1 << 32, False), (1 << 40, True), (1 << 62, True)]
)
def test_a_hard_limit_is_heeded(hard: int, can: bool) -> None:
    script = (
        "from warmup.supervise.tree import cookie; n = cookie.find_new_cookie(); "
        "n and cookie.wear(n + 1023); print(n is not None, end='')"
    )
    limits = (hard, hard)
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        timeout=DEADLINE_S,
        preexec_fn=lambda: resource.setrlimit(_RLIMIT_LOCKS, limits),
    )
    assert result.stdout.decode() == str(can)


def test_numbers_of_a_run_are_told_from_those_of_its_servers() -> None:
    run = cookie.get_run_cookies(1 << 61)
    first, second = (cookie.get_server_cookies(1 << 61, index) for index in (0, 1))
    assert (len(run), len(first), len(second)) == (1024, 1, 1)
    assert first[0] != second[0]
    assert first[0] in run
    assert second[0] in run
    assert cookie.get_server_cookies(1 << 61, 5000)[0] in run


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_wipes_it(tmp_path: Path, kind: str) -> None:
    drawn = cookie.find_new_cookie()
    assert drawn is not None
    cookies = cookie.get_run_cookies(drawn)
    leader = spawn(get_toy("tree_nasty", tmp_path, kind), (drawn, resource.RLIM_INFINITY))
    try:
        wait_until((tmp_path / kind).exists)
        worker = int((tmp_path / kind).read_text())
        if kind == "retitled":
            wait_until(lambda: proc.get_command(worker) == TITLE)
        assert cookie.find_cookie(worker) == drawn
        assert {leader.pid, worker} <= set(cookie.list_bearers(cookies))
        assert os.getpid() not in cookie.list_bearers(cookies)
    finally:
        clear.end_bearers(cookies)
        leader.communicate(timeout=DEADLINE_S)


def test_a_zombie_still_wears_it() -> None:
    process = spawn(["true"], (cookie.LOWEST + 5, resource.RLIM_INFINITY))
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert cookie.find_cookie(process.pid) == cookie.LOWEST + 5
    process.communicate(timeout=DEADLINE_S)
    assert cookie.find_cookie(process.pid) is None


def test_who_was_never_marked_has_none() -> None:
    assert cookie.is_readable()
    assert cookie.find_cookie(os.getpid()) is None
    assert cookie.find_cookie(1) is None

"""What every test stands on: no real home, no GPU unless asked for, nothing left behind."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import needs
from warmup.supervise.tree import cookie, kernel, proc
from warmup.supervise.tree.segments import list_own, list_used

_FORBIDDEN_PREFIXES = ("GITHUB_", "RUNNER_", "WARMUP_CI_")
_GONE_WITHIN_S = 10.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu", action="store_true", help="also run the tests that need a CUDA GPU")
    parser.addoption(
        "--require-tools",
        action="store_true",
        help="fail tests whose programs or packages are not installed, instead of skipping them",
    )
    parser.addoption(
        "--target-python",
        type=Path,
        help="interpreter with CUDA wheels: also run the engine on the null device, with it",
    )
    parser.addoption(
        "--target-sglang-python",
        type=Path,
        help="interpreter with sglang for CUDA 13: also run it on the null device",
    )
    for engine in ("sglang", "vllm"):
        parser.addoption(
            f"--{engine}-python",
            type=Path,
            help=f"interpreter with {engine} for CPUs: also run the tests that start it",
        )


def pytest_configure(config: pytest.Config) -> None:
    """A suite started with `&` or nohup is born deaf to some signals, and so would its children be:
    what they do about a SIGINT could not be seen."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for signum in (signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)
    needs.configure(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """GPU tests last, and only with --gpu."""
    items.sort(key=lambda item: item.get_closest_marker("gpu") is not None)
    if config.getoption("--target-python") is None:
        for item in items:
            if item.get_closest_marker("target") is not None:
                reason = "needs --target-python (`make test-target`)"
                item.add_marker(pytest.mark.skip(reason=reason))
    for item in items:
        for mark in item.iter_markers("engines"):
            if config.getoption(f"--{mark.args[0]}-python") is None:
                reason = f"needs --{mark.args[0]}-python (`make test-engines`)"
                item.add_marker(pytest.mark.skip(reason=reason))
    if not config.getoption("--gpu"):
        for item in items:
            if item.get_closest_marker("gpu") is not None:
                item.add_marker(pytest.mark.skip(reason="needs --gpu"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture of it is made."""
    for mark in item.iter_markers("needs"):
        needs.require(*mark.args)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real home and the real caches are out of reach; answers WARMUP_CI_HOME."""
    for name in list(os.environ):
        # The null device's own say where its profile is, to tests that run on it.
        if name.startswith(_FORBIDDEN_PREFIXES) and not name.startswith("WARMUP_CI_NULL_"):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("WARMUP_CI_HOME", str(home / "warmup-ci"))
    return home / "warmup-ci"


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No process of a run and no segment of shared memory outlives the session.

    As a subreaper this process gets whatever a killed orchestrator drops, so that the processes of
    another session on this machine are not taken for ours. Nor are its segments: a process of ours
    notes what our descendants use.
    """
    was = kernel.is_subreaper()
    kernel.set_subreaper(True)
    with _watched_segments() as list_segments:
        yield
        deadline = time.monotonic() + _GONE_WITHIN_S
        while left := _list_own_bearers() + list_segments():
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.05)
    kernel.set_subreaper(was)


def _list_own_bearers() -> list[str]:
    """Descriptions of living descendants that wear a run's cookie."""
    parents = {}
    for pid in proc.list_pids():
        stat = proc.find_stat(pid)
        if stat is not None and not stat.has_ended:
            parents[pid] = stat.ppid
    return [
        proc.describe(pid)
        for pid in parents
        if (cookie.find_cookie(pid) or 0) >= cookie.LOWEST and _is_descendant(pid, parents)
    ]


def _is_descendant(pid: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == os.getpid():
            return True
    return False


@contextlib.contextmanager
def _watched_segments() -> Iterator[Callable[[], list[str]]]:
    """Yields what tells, once, which segments that our descendants made nobody uses any more."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.segment_watch", str(os.getpid())],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as watch:
        assert watch.stdout is not None
        watch.stdout.readline()

        @functools.cache
        def get_seen() -> set[tuple[int, int]]:
            text, _ = watch.communicate()
            return {(device, inode) for device, inode in json.loads(text)}

        def list_left() -> list[str]:
            left = {each: name for each, name in list_own().items() if each in get_seen()}
            used = list_used(proc.list_pids()) if left else set()
            return [f"/dev/shm/{name}" for each, name in left.items() if each not in used]

        try:
            yield list_left
        finally:
            get_seen()  # and it has ended

"""What every test stands on: no real home, no GPU unless asked for, nothing left behind."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from warmup.supervise.tree import cookie, kernel, proc

_FORBIDDEN_PREFIXES = ("GITHUB_", "RUNNER_", "WARMUP_CI_")
_SHM = Path("/dev/shm")
_GONE_WITHIN_S = 10.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu", action="store_true", help="also run the tests that need a CUDA GPU")
    parser.addoption(
        "--target-python",
        type=Path,
        help="interpreter with CUDA wheels: also run the engine on the null device, with it",
    )


def pytest_configure() -> None:
    """A suite started with `&` or nohup is born deaf to some signals, and so would its children be:
    what they do about a SIGINT could not be seen."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for signum in (signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """GPU tests last, and only with --gpu."""
    items.sort(key=lambda item: item.get_closest_marker("gpu") is not None)
    if config.getoption("--target-python") is None:
        for item in items:
            if item.get_closest_marker("target") is not None:
                reason = "needs --target-python (`make test-target`)"
                item.add_marker(pytest.mark.skip(reason=reason))
    if not config.getoption("--gpu"):
        for item in items:
            if item.get_closest_marker("gpu") is not None:
                item.add_marker(pytest.mark.skip(reason="needs --gpu"))


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real home and the real caches are out of reach; answers WARMUP_CI_HOME."""
    for name in list(os.environ):
        if name.startswith(_FORBIDDEN_PREFIXES):
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
    another session on this machine are not taken for ours.
    """
    was = kernel.is_subreaper()
    kernel.set_subreaper(True)
    segments = _list_segments()
    yield
    deadline = time.monotonic() + _GONE_WITHIN_S
    while left := _list_own_bearers() + _list_unused(_list_segments() - segments):
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


def _list_segments() -> set[tuple[int, int]]:
    """(device, inode) of every segment in /dev/shm that is ours by user."""
    if not _SHM.is_dir():
        return set()
    found = set()
    for entry in os.scandir(_SHM):
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if status.st_uid == os.getuid() and stat.S_ISREG(status.st_mode):
            found.add((status.st_dev, status.st_ino))
    return found


def _list_unused(segments: set[tuple[int, int]]) -> list[str]:
    """Those that nobody maps: a neighbour's are in use as long as its processes live."""
    if not segments:
        return []
    mapped: set[tuple[int, int]] = set()
    for pid in proc.list_pids():
        try:
            lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            _, _, _, device, inode, *_ = line.split()
            major, minor = device.split(":")
            mapped.add((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
    return [f"/dev/shm inode {inode}" for device, inode in segments - mapped]

"""Processes that cannot die at once: a frozen cgroup (v1) holds its members in state D."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.supervise.trees import wait_until
from warmup.supervise.tree import proc

_ROOT = Path("/sys/fs/cgroup/freezer")


@contextmanager
def make_freezer() -> Iterator[Path]:
    """A folder whose `cgroup.procs` takes pids; thawed and removed at the end.

    (Version 2's freezer does not serve: SIGKILL ends what it holds.)
    """
    path = _ROOT / f"warmup-ci-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup v1 freezer to be had: {error}")
    try:
        yield path
    finally:
        thaw(path)
        wait_until(lambda: _is_removed(path), "the cgroup to be empty")


def freeze(path: Path, pid: int) -> None:
    """Returns once the process is in state D."""
    (path / "cgroup.procs").write_text(str(pid))
    (path / "freezer.state").write_text("FROZEN")

    def is_frozen() -> bool:
        stat = proc.find_stat(pid)
        return stat is not None and stat.state == "D"

    wait_until(is_frozen, "the process to be frozen")


def thaw(path: Path) -> None:
    (path / "freezer.state").write_text("THAWED")


def _is_removed(path: Path) -> bool:
    with suppress(OSError):
        path.rmdir()
    return not path.exists()

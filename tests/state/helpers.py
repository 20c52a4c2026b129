"""Homes, launches and markers for the tests of `warmup.state` and of the commands on it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from warmup.caches.manifest import FamilySummary
from warmup.caches.records import Manifest, encode
from warmup.launch.launch import Launch
from warmup.state.home import Home
from warmup.state.marker import Marker, make_marker
from warmup.state.marker_files import MarkerProblem, read_marker, write_marker
from warmup.state.version_vector import Ingredient, VersionVector
from warmup.words.files import Folder

DEADLINE_S = 60.0


def make_home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.ensure()
    return home


def make_launch(**changes: Any) -> Launch:
    """A launch of a hub model; `changes` replace its fields."""
    fields: dict[str, Any] = {
        "model": "org/Name-1B",
        "tp": 2,
        "engine": "sglang",
        "python": "",
        "fallback_args": ("--dp", "2", "--enable-dp-attention"),
        "env": {"SGLANG_ENABLE_JIT_DEEPGEMM": "1"},
    }
    return Launch(**{**fields, **changes})


def make_vector(**values: str) -> VersionVector:
    """Ingredients `triton` and `nvcc`; `values` replace theirs, or add."""
    named = {"triton": "3.9.0", "nvcc": "13.0.88", **values}
    return VersionVector(tuple(Ingredient(name, value) for name, value in named.items()))


def make_marker_of(launch: Launch, vector: VersionVector, **changes: Any) -> Marker:
    fields: dict[str, Any] = {
        "argv": ("python3", "-m", "sglang.launch_server"),
        "engine_version": "0.5.3",
        "families": {
            "deep_gemm": FamilySummary("/caches/deep_gemm", 41, 4100, "0" * 64),
            "triton": FamilySummary("/caches/triton", 9, 900, "1" * 64),
        },
        "manifest": encode(Manifest({})),
        "phases": {"spawn": 0.1, "ready": 40.0, "request": 1.0, "stop": 0.1},
        "seconds": 41.2,
        "proven": False,
    }
    return make_marker(launch, vector, **{**fields, **changes})


def warm(home: Home, launch: Launch, vector: VersionVector, **changes: Any) -> Marker:
    """Write a marker with a manifest that binds nothing, as after a warm-up that made nothing."""
    marker = make_marker_of(launch, vector, **changes)
    (home.manifests / marker.manifest).write_bytes(encode(Manifest({})))
    write_marker(home, marker)
    return marker


def read(path: Path) -> Marker | MarkerProblem:
    with Folder.open(path.parent) as folder:
        return read_marker(folder, path.name)


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def run_as_nobody(work: Callable[[], None]) -> None:
    """Run `work` in a forked child without root's power over file modes; asserts its success."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            work()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def exchange(one: Path, other: Path) -> None:
    """renameat2(RENAME_EXCHANGE): two names swap what they name, in one step."""
    import ctypes

    libc, at_cwd, flag = ctypes.CDLL(None, use_errno=True), -100, 2
    if libc.renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), flag) != 0:
        raise OSError(ctypes.get_errno(), "renameat2", str(one))

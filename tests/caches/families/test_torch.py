"""Caches that torch itself makes on a CPU; slow, because torch is imported and C++ compiled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.caches.caches import set_mtime
from tests.caches.hazards.find import find
from warmup.caches.hazards.ninja import MTIME_INVERSION
from warmup.caches.hazards.torch_lock import find_holder, repair
from warmup.caches.manifest import find_new
from warmup.caches.walk import take_snapshot

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.needs("python:torch", "ninja", "c++"),
]

COMPILED = """
import torch

@torch.compile
def f(x):
    return (x.sin() + 1).relu()

assert f(torch.ones(64)).sum() > 0
"""
EXTENSION = """
import sys
from torch.utils.cpp_extension import load
load("tiny", [sys.argv[1]])
print("loaded", flush=True)
"""
SOURCE = """
#include <Python.h>
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "tiny", nullptr, -1, nullptr};
PyMODINIT_FUNC PyInit_tiny(void) { return PyModule_Create(&module); }
"""
# A compiler that says it runs, and never ends.
ENDLESS = "#!/bin/sh\ntouch {started}\nexec sleep 1000\n"


def test_inductor_compiles_once_and_names_its_kernel(tmp_path: Path) -> None:
    env = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    command = [sys.executable, "-c", COMPILED]
    snapshots = [take_snapshot(["inductor"], env)]
    for _ in range(2):
        subprocess.run(command, env=env, check=True, timeout=500)
        snapshots.append(take_snapshot(["inductor"], env))
    first = find_new(snapshots[0], snapshots[1])["inductor"]
    assert any(new.kernel.startswith("cpp_fused_") for new in first)
    assert {new.entry.partition("/")[0] for new in first} > {"fxgraph", "aotautograd"}
    assert find_new(snapshots[1], snapshots[2]) == {}


def write_source(tmp_path: Path) -> Path:
    source = tmp_path / "tiny.cpp"
    source.write_text(SOURCE)
    set_mtime(source, time.time() - 3600)
    return source


def test_an_extension_is_one_entry_and_its_source_can_outrun_it(tmp_path: Path) -> None:
    root, source = tmp_path / "extensions", write_source(tmp_path)
    env = {**os.environ, "TORCH_EXTENSIONS_DIR": str(root)}
    before = take_snapshot(["torch_extensions"], env)
    root.mkdir()
    command = [sys.executable, "-c", EXTENSION, str(source)]
    subprocess.run(command, env=env, check=True, timeout=500)
    (new,) = find_new(before, take_snapshot(["torch_extensions"], env))["torch_extensions"]
    assert new.kernel == "tiny"
    # It needs libtorch and its kin, which lie in torch's own folder.
    assert find("torch_extensions", root, packages=tuple(filter(None, sys.path))) == []
    set_mtime(source, time.time() + 3600)
    (found,) = find("torch_extensions", root)
    assert found.rule == MTIME_INVERSION.id and "ext" in str(found.path)


def test_a_killed_builder_leaves_a_lock_that_hangs_the_next_until_it_is_repaired(
    tmp_path: Path,
) -> None:
    root, source, started = tmp_path / "extensions", write_source(tmp_path), tmp_path / "started"
    root.mkdir()
    compiler = tmp_path / "c++"
    compiler.write_text(ENDLESS.format(started=started))
    compiler.chmod(0o755)
    env = {**os.environ, "TORCH_EXTENSIONS_DIR": str(root)}
    command = [sys.executable, "-c", EXTENSION, str(source)]
    builder = subprocess.Popen(command, env={**env, "CXX": str(compiler)}, start_new_session=True)
    lock = root / "tiny" / "lock"
    try:
        wait_until(started.exists)
        assert find_holder(lock) is not None
        assert find("torch_extensions", root) == []
    finally:
        os.killpg(builder.pid, signal.SIGKILL)
        builder.wait(timeout=60)
    wait_until(lambda: find_holder(lock) is None)
    next_one = subprocess.Popen(command, env=env)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            next_one.wait(timeout=10)
        findings = [each for each in find("torch_extensions", root) if "lock" in each.rule]
        assert [repair(each) for each in findings] == ["removed the lock"]
    finally:
        next_one.kill()
        next_one.wait(timeout=60)
    subprocess.run(command, env=env, check=True, timeout=500)


def wait_until(condition: object, seconds: float = 300) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)

"""What the server's interpreter and its PATH are given beside the libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.target.null_device import get_libraries
from warmup.target.environment import make_environment
from warmup.target.profile import parse_target

_CUTE = """
class Callable:
    def __getitem__(self, option):
        return Callable()
    def __call__(self, function):
        print("compiled")
        function.binary = "cubin"
        return function
compile = Callable()
"""
_LAUNCH = """
import cutlass.cute as cute
def kernel():
    print("launched")
for compile in cute.compile, cute.compile["an option"]:
    made = compile(kernel)
    print(made(), made.binary)
"""


def run(folder: Path, *command: str, target: str = "h200x2") -> subprocess.CompletedProcess[str]:
    """`command` in the environment of a server on the target."""
    base = {**os.environ, "PYTHONPATH": str(folder)}
    overlay = make_environment(parse_target(target), base, get_libraries().parent, folder)
    return subprocess.run(
        command,
        env={**base, **overlay},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_what_the_cute_dsl_compiled_is_not_launched(tmp_path: Path) -> None:
    """A package with its entry point alone; `test_sglang.py` has the real one."""
    package = tmp_path / "cutlass" / "cute"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").write_text(_CUTE)
    done = run(tmp_path, sys.executable, "-c", _LAUNCH)
    assert done.stdout.split("\n") == ["compiled", "None cubin"] * 2 + [""], done.stderr


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (("--query-gpu=memory.total", "--format=csv,noheader,nounits"), ["143771", "143771"]),
        (("--query-gpu=compute_cap", "--format=csv,noheader"), ["9.0", "9.0"]),
        (
            ("--query-gpu=index,name,memory.total,driver_version", "--format=csv,noheader"),
            [f"{index}, NVIDIA H200, 143771 MiB, 580.65.06" for index in range(2)],
        ),
    ],
)
def test_nvidia_smi_knows_the_profile(
    tmp_path: Path, query: tuple[str, ...], said: list[str]
) -> None:
    assert run(tmp_path, "nvidia-smi", *query).stdout.splitlines() == said


def test_nvidia_smi_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    for arguments in (("--query-gpu=power.draw", "--format=csv"), ("-L",)):
        done = run(tmp_path, "nvidia-smi", *arguments)
        assert done.returncode == 2 and "does not know" in done.stderr

"""What the command line costs before it does anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "triton", "requests", "rich", "transformers", "pynvml", "warmup.supervise"}


@pytest.mark.parametrize("args", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    script = (
        "import sys, warmup.cli\n"
        f"sys.argv[1:] = {args!r}\n"
        "try:\n    warmup.cli.main()\n"
        "finally:\n    print('HEAVY', sorted(set(sys.modules) & set(%r)))\n" % (HEAVY,)
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("HEAVY []\n")


def test_every_command_of_the_design_is_there() -> None:
    from warmup.cli import cli

    assert set(cli.commands) == {
        "run", "plan", "key", "audit", "why", "observe", "kernels", "serve", "gc", "reap", "doctor",
    }  # fmt: skip

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The command replaces its process, so it runs in one of its own.
# As in the console script, this side of it does not look into the current folder either.
CODE = "import sys; del sys.path[0]; from warmup.commands.serve import serve; serve(sys.argv[1:])"


def run(*argv: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *argv],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_flags_reach_the_engine_as_they_are() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "--warmup-resolutions" in done.stdout
    assert "usage: warmup-ci serve" in done.stdout


def test_the_engines_exit_status_is_the_commands() -> None:
    done = run("--model", "no/such folder", "--warmup-resolutions=foo")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --warmup-resolutions: 'foo' is not a resolution\n")


@pytest.mark.parametrize("name", ["json", "torch", "warmup", "msgspec", "runpy"])
def test_nothing_of_the_current_folder_is_run(tmp_path: Path, name: str) -> None:
    """A runner's checkout may hold a pull request's `json.py`."""
    (tmp_path / f"{name}.py").write_text("open('ran', 'w').close()\n")
    done = run("--model", "no/such folder", cwd=tmp_path)
    assert not (tmp_path / "ran").exists()
    assert done.returncode == 2, done.stderr

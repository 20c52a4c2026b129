"""Tests whose tools are missing are skipped here, and failed where everything must be installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest
from tests.needs import load, require

@pytest.mark.needs("sh", "no-such-program", "python:no_such_package")
def test_marked():
    raise AssertionError("ran")

def test_asks():
    require("no-such-program")

def test_loads():
    load("no_such_package.inside")

@pytest.mark.needs("sh", "python:json")
def test_has_all():
    pass
"""


@pytest.mark.parametrize(
    ("options", "told"),
    [((), "1 passed, 3 skipped"), (("--require-tools",), "2 failed, 1 passed, 1 error")],
)
def test_what_is_not_installed_is_skipped_or_failed(
    tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    file = tmp_path / "test_tools.py"
    file.write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", *options]
    done = subprocess.run(
        [*command, "-c", ROOT / "pyproject.toml", "-p", "no:cacheprovider", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told in done.stdout, done.stdout + done.stderr
    assert "not installed: no-such-program, python:no_such_package" in done.stdout

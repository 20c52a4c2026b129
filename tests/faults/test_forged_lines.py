"""File names and other foreign text that a runner of GitHub Actions would take for its commands."""

import re
from pathlib import Path

import pytest

from tests.commands.program import call, call_json, write_workflow

NAMES = [
    "##[error]forged",
    "::error::forged",
    " ::add-mask::x",
    "a\r::set-output::x",
    "a\n##[group]x",
]
_COMMAND = re.compile(r"(?:^|[\r\n])[^\S\r\n]*::|##\[")


@pytest.mark.parametrize(
    "command", ["audit", "audit --json", "reap", "reap --json", "gc", "gc --json"]
)
def test_no_command_prints_a_forged_one(tmp_path: Path, command: str) -> None:
    """Markers, ledgers, cache entries and folders of runs, named by whoever may write there."""
    write_workflow(tmp_path)
    call_json(tmp_path, "run", "--workflow", "workflow.toml")
    home = tmp_path / "home"
    for name in NAMES:
        (home / "markers" / f"{name}.json").write_text("{")
        (home / "runs" / name).mkdir()
        (home / "runs" / name / "ledger.json").write_text("##[error]not a ledger")
        (tmp_path / "triton" / name).mkdir()
        (tmp_path / "triton" / name / "kernel.json").write_text("")
    done = call(tmp_path, *command.split(), GITHUB_ACTIONS="true")
    assert "Traceback" not in done.stderr
    assert "rror" in done.stdout + done.stderr or command.startswith("gc")
    for text in (done.stdout, done.stderr):
        assert not _COMMAND.search(text), text


def test_an_error_is_guarded_too(tmp_path: Path) -> None:
    done = call(tmp_path, "run", "--models", "./##[error]x", GITHUB_ACTIONS="true")
    assert done.returncode == 2
    assert "## [error]x" in done.stderr
    assert not _COMMAND.search(done.stderr)

"""A session reads what a command asks for, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.program import call, get_env
from warmup.commands.session import Session
from warmup.words.errors import UsageError
from warmup.workflow.selection import Selection


def test_what_needs_no_workflow_reads_none(tmp_path: Path) -> None:
    selection = Selection(workflow=tmp_path / "missing.toml")
    session = Session(selection=selection, environ=get_env(tmp_path), folder=tmp_path)
    assert session.home.path == tmp_path / "home"
    with pytest.raises(UsageError, match=r"missing\.toml"):
        _ = session.launches


def test_no_model_is_an_error_only_where_one_is_needed(tmp_path: Path) -> None:
    session = Session(environ=get_env(tmp_path), folder=tmp_path)
    assert session.launches == ()
    with pytest.raises(UsageError, match="no model named"):
        session.get_launches()


def test_the_cache_root_is_laid_over_the_environment(tmp_path: Path) -> None:
    selection = Selection(cache_root="caches")
    session = Session(selection=selection, environ=get_env(tmp_path), folder=tmp_path)
    assert session.env["TRITON_CACHE_DIR"].startswith(str(Path.cwd() / "caches"))
    assert session.environ["TRITON_CACHE_DIR"] == str(tmp_path / "triton")


@pytest.mark.parametrize(
    "args",
    [
        ["run", "--models", "a/b"],
        ["plan", "--models", "a/b"],
        ["key"],
        ["audit"],
        ["gc"],
        ["kernels", "list", "a/b"],
        ["kernels", "compile", "a/b"],
        ["kernels", "rebuild", "cache"],
        ["doctor"],
    ],
)
def test_a_removed_folder_is_no_bug_of_ours(tmp_path: Path, args: list[str]) -> None:
    """Every command that needs the current folder says that it is gone (review, twin bug 4)."""
    folder = tmp_path / "gone"
    folder.mkdir()
    script = 'rmdir "$PWD" && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-m", "warmup", *args],
        cwd=folder,
        env=get_env(tmp_path, **{"PYTHONDONTWRITEBYTECODE": "1"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("error: the current folder does not exist\n")
    assert not os.path.lexists(folder)


def test_a_broken_project_file_stops_only_what_reads_it(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.warmup-ci]\nno_such_key = 1\n")
    assert call(tmp_path, "reap").returncode == 0
    done = call(tmp_path, "plan", "--models", "a/b")
    assert (done.returncode, "no_such_key" in done.stderr) == (2, True)

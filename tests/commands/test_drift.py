from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.program import call, call_json

WORKFLOW = """
schema = 1
[defaults]
engine = "sglang"
[[model]]
id = "org/model"
tp = 8
fallback_args = [{args}]
"""
TREE = """
MODEL = "org/model"

class TestServer:
    @classmethod
    def setUpClass(cls):
        cls.process = popen_launch_server(
            MODEL, url, timeout=600, other_args=["--tp", "8", "--dp", "8", "--new-flag"]
        )

def launch(args):
    popen_launch_server(MODEL, url, timeout=600, other_args=args)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tests" / "test_server.py"
    path.parent.mkdir()
    path.write_text(TREE)
    return path


def write_workflow(folder: Path, *args: str) -> str:
    path = folder / "workflow.toml"
    path.write_text(WORKFLOW.format(args=", ".join(json.dumps(arg) for arg in args)))
    return str(path)


def test_drift_is_told_with_its_place(tree: Path, tmp_path: Path) -> None:
    workflow = write_workflow(tmp_path, "--dp", "8", "--old-flag")
    document = call_json(tmp_path, "drift", str(tree.parent), "--workflow", workflow)
    assert document["exit_code"] == 1
    assert (document["launches"], document["compared"]) == (2, 1)
    drift, unresolved = sorted(document["drifts"], key=lambda each: each["line"])
    assert drift["file"].endswith("test_server.py")
    assert drift["missing_in_workflow"] == ["--new-flag"]
    assert drift["missing_in_tests"] == ["--old-flag"]
    assert unresolved["unresolved"]


def test_the_same_arguments_are_not_drift(tree: Path, tmp_path: Path) -> None:
    workflow = write_workflow(tmp_path, "--new-flag", "--dp", "8", "--log-level", "debug")
    done = call(tmp_path, "drift", str(tree), "--workflow", workflow)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].startswith("unresolved ")
    assert lines[-1] == "2 launches found: 0 drifted, 0 unlisted, 1 unresolved"


def test_lines_name_either_side_and_each_unlisted_model(tree: Path, tmp_path: Path) -> None:
    (tree.parent / "test_other.py").write_text("popen_launch_server('org/other', url)\n")
    workflow = write_workflow(tmp_path, "--dp", "8", "--old-flag")
    done = call(tmp_path, "drift", str(tree.parent), "--workflow", workflow)
    assert done.returncode == 1
    assert "only the tests:   --new-flag" in done.stdout
    assert "only the warm-up: --old-flag" in done.stdout
    assert "test_other.py:1: org/other:1: the workflow does not warm this model" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("3 launches found: 1 drifted, 1 unlisted, 1")


@pytest.mark.parametrize(
    "source", ["", "def launch(model):\n    popen_launch_server(model, url)\n"]
)
def test_where_nothing_can_be_compared_nothing_is_green(source: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(source)
    done = call(tmp_path, "drift", "test_it.py", "--workflow", write_workflow(tmp_path))
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("nothing to compare: ")


def test_a_path_that_is_missing_is_the_users_mistake(tmp_path: Path) -> None:
    done = call(tmp_path, "drift", "gone", "--workflow", write_workflow(tmp_path))
    assert done.returncode == 2
    assert "no such file or folder: gone" in done.stderr

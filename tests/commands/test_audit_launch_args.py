from __future__ import annotations

import json
from pathlib import Path

import pytest

from warmup.commands.audit_launch_args import audit_launch_args
from warmup.launch.launch import Launch

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


def make_launch(*args: str) -> Launch:
    return Launch(model="org/model", tp=8, engine="sglang", python="python3", fallback_args=args)


def test_drift_is_told_with_its_place(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launch = make_launch("--dp", "8", "--old-flag")
    status = audit_launch_args([tree.parent], [launch], json_output=True)
    document = json.loads(capsys.readouterr().out)
    assert status == document["exit_code"] == 1 and document["launches"] == 2
    drift, unresolved = sorted(document["drifts"], key=lambda each: each["line"])
    assert drift["file"].endswith("test_server.py")
    assert drift["missing_in_workflow"] == ["--new-flag"]
    assert drift["missing_in_tests"] == ["--old-flag"]
    assert unresolved["unresolved"]


def test_the_same_arguments_are_no_drift(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit_launch_args([tree], [make_launch("--new-flag", "--dp", "8")]) == 0
    text = capsys.readouterr().out
    assert "unresolved " in text and text.splitlines()[-1] == "2 launches found, 0 of them drifted"


def test_lines_name_either_side(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launch = make_launch("--dp", "8", "--old-flag")
    assert audit_launch_args([tree], [launch]) == 1
    text = capsys.readouterr().out
    assert "only the tests:   --new-flag" in text
    assert "only the warm-up: --old-flag" in text

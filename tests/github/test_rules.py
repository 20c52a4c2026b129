"""Rules that no workflow of ours may break, whatever a linter's version thinks of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.github.actions_yaml import ACTIONS, ROOT, WORKFLOWS, get_steps, iter_scripts, load

ALL = [*WORKFLOWS, *ACTIONS]
EXPECTED = {"action.yml", "ci.yml", "warmup.yml"}


def test_all_files_are_looked_at() -> None:
    assert {path.name for path in ALL} == EXPECTED


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_actions_are_pinned_by_full_commit_and_say_their_version(path: Path) -> None:
    lines = re.findall(r"uses: (\S+)(.*)", path.read_text(encoding="utf-8"))
    used = [step["uses"] for step in get_steps(path) if "uses" in step]
    assert [name for name, _ in lines] == used
    for name, comment in lines:
        if not name.startswith("./"):
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", name)
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)


def test_no_expression_stands_in_a_script() -> None:
    for name, script in iter_scripts():
        assert "${{" not in script, name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_permissions_are_none_and_then_read(path: Path) -> None:
    document = load(path)
    assert document["permissions"] == {}
    for job in document["jobs"].values():
        assert job["permissions"] == {"contents": "read"}
        assert job["timeout-minutes"]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_no_checkout_leaves_its_credentials(path: Path) -> None:
    for step in get_steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_every_script_says_its_shell() -> None:
    for path in ALL:
        assert all(step["shell"] == "bash" for step in get_steps(path) if "run" in step)


def test_the_composite_action_ends_as_it_must() -> None:
    steps = get_steps(ACTIONS[0])
    assert steps[-3]["run"].strip().splitlines()[-1].startswith("exec warmup-ci run ")
    assert steps[-2]["run"].strip().splitlines()[-1].startswith("exec warmup-ci exec ")
    assert steps[-1]["if"] == "always()"
    assert steps[-1]["run"].strip().splitlines()[-1] == "exec warmup-ci reap"


def test_every_input_of_an_action_reaches_it_through_the_environment() -> None:
    document = load(ACTIONS[0])
    run = document["runs"]["steps"][1]
    command = document["runs"]["steps"][2]
    given = {*run["env"].values(), *command["env"].values()}
    assert given == {f"${{{{ inputs.{name} }}}}" for name in document["inputs"]}
    for step in (run, command):
        assert all(name in step["run"] for name in step["env"])


@pytest.mark.needs("zizmor")
def test_the_linters_find_nothing() -> None:
    folder = Path(sys.executable).parent
    linted = subprocess.run(
        [ROOT / "tools" / "lint_workflows.sh", folder],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr

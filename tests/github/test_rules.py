"""Rules that no workflow of ours may break, whatever a linter's version thinks of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.github.actions_yaml import (
    ACTIONS,
    ROOT,
    WORKFLOWS,
    get_step,
    get_steps,
    iter_scripts,
    load,
    parse,
)

ALL = [*WORKFLOWS, *ACTIONS]
EXPECTED = {"action.yml", "ci.yml", "fleet-example.yml", "publish.yml", "warmup.yml"}
READ, PULL = {"contents": "read"}, {"contents": "read", "packages": "read"}
# One job that may write, in one file; who calls it must grant it as much, and no more.
WRITE = {"packages": "write", "id-token": "write", "attestations": "write"}
PERMISSIONS = {
    ("ci.yml", "test"): READ,
    ("warmup.yml", "warmup"): PULL,
    ("publish.yml", "publish"): WRITE,
    ("fleet-example.yml", "plan"): READ,
    ("fleet-example.yml", "warm"): PULL,
    ("fleet-example.yml", "merge"): READ,
    ("fleet-example.yml", "publish"): WRITE,
}


def test_all_files_are_looked_at() -> None:
    assert {path.name for path in ALL} == EXPECTED


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_actions_are_pinned_by_full_commit_and_say_their_version(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = re.findall(r"^ +(?:- )?uses: (\S+)(.*)", text, re.MULTILINE)
    jobs = load(path).get("jobs", {}).values()
    used = [each["uses"] for each in [*jobs, *get_steps(path)] if "uses" in each]
    assert sorted(name for name, _ in lines) == sorted(used)
    for name, comment in lines:
        if not name.startswith("./"):
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", name)
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)


def test_no_expression_stands_in_a_script() -> None:
    for name, script in iter_scripts():
        assert "${{" not in script, name


def test_permissions_are_none_and_then_each_job_s_own() -> None:
    found = {}
    for path in WORKFLOWS:
        document = load(path)
        assert document["permissions"] == {}
        for name, job in document["jobs"].items():
            found[path.name, name] = job["permissions"]
            assert "uses" in job or job["timeout-minutes"]
    assert found == PERMISSIONS


def test_the_job_that_may_write_runs_nothing_of_a_pull_request() -> None:
    (job,) = load(ROOT / ".github" / "workflows" / "publish.yml")["jobs"].values()
    condition = " ".join(job["if"].split())
    assert condition == (
        """contains(fromJSON('["push", "schedule", "workflow_dispatch"]'), github.event_name) && """
        "github.ref == format('refs/heads/{0}', github.event.repository.default_branch)"
    )
    used = [step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step]
    assert used == ["actions/download-artifact", "actions/attest"]  # nothing is checked out


def test_no_log_goes_into_an_artifact_of_a_pack() -> None:
    step = get_step(ROOT / ".github" / "workflows" / "warmup.yml", "Keep the pack for its writer")
    assert step["with"]["path"] == "${{ runner.temp }}/warmup-ci/pack"
    assert "!startsWith(github.event_name, 'pull_request')" in step["if"]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_no_checkout_leaves_its_credentials(path: Path) -> None:
    for step in get_steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_every_name_in_an_expression_exists(path: Path) -> None:
    """Nobody runs them here, and GitHub takes a misspelt one for an empty text."""
    document, text = load(path), path.read_text(encoding="utf-8")
    inputs, outputs = get_interface(document)
    asked = set(re.findall(r"\binputs\.([\w-]+)", text))
    assert asked <= {*inputs}
    jobs = document.get("jobs", {"": {"steps": document.get("runs", {}).get("steps", [])}})
    for job in jobs.values():
        told, needs = json.dumps(job), job.get("needs", [])
        needs = {needs} if isinstance(needs, str) else {*needs}
        assert set(re.findall(r"\bneeds\.([\w-]+)\.", told)) <= needs
        for name, output in re.findall(r"\bneeds\.([\w-]+)\.outputs\.([\w-]+)", told):
            assert output in jobs[name]["outputs"]
        ids = {step["id"] for step in job.get("steps", []) if "id" in step}
        assert set(re.findall(r"\bsteps\.([\w-]+)\.", told)) <= ids
    for name, output in re.findall(r"\bjobs\.([\w-]+)\.outputs\.([\w-]+)", json.dumps(outputs)):
        assert output in jobs[name]["outputs"]


def get_interface(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs of an action, or of a workflow that is called or dispatched."""
    on = document.get("on", {})
    called = on.get("workflow_call") or on.get("workflow_dispatch") or {} if on else document
    return called.get("inputs", {}), called.get("outputs", {})


EXAMPLES = [
    pytest.param(text, id=f"{page.name}-{number}")
    for page in sorted((ROOT / "docs").glob("*.md"))
    for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.S))
]
CALLERS = [pytest.param(each.read_text("utf-8"), id=each.name) for each in WORKFLOWS]


@pytest.mark.parametrize("text", [*CALLERS, *EXAMPLES])
def test_what_is_called_knows_its_inputs_and_gets_its_permissions(text: str) -> None:
    """The docs' examples too."""
    for job in parse(text)["jobs"].values():
        for each in (job, *job.get("steps", [])):
            used = re.sub(r"^(\./|OWNER/warmup-ci/)(\.warmup-ci/)?", "", each.get("uses", ""))
            if used == each.get("uses", ""):
                continue
            used = used.partition("@")[0]
            called = load(ROOT / used if used.endswith(".yml") else ROOT / used / "action.yml")
            inputs, _ = get_interface(called)
            assert {*each["with"]} <= {*inputs}
            required = {name for name, spec in inputs.items() if spec.get("required")}
            assert required <= {*each["with"]}
            for inner in called.get("jobs", {}).values():  # GitHub refuses to start it otherwise
                assert inner["permissions"].items() <= job["permissions"].items()


def test_every_script_says_its_shell() -> None:
    for path in ALL:
        assert all(step["shell"] == "bash" for step in get_steps(path) if "run" in step)


def test_the_composite_action_ends_as_it_must() -> None:
    steps = get_steps(ACTIONS[0])
    assert steps[-4]["run"].strip().splitlines()[-1].startswith("exec warmup-ci run ")
    assert steps[-3]["if"].startswith("always() && "), "a failed run's report too"
    assert steps[-2]["run"].strip().splitlines()[-1].startswith("exec warmup-ci exec ")
    assert steps[-1]["if"] == "always()"
    assert steps[-1]["run"].strip().splitlines()[-1] == "exec warmup-ci reap"


def test_every_input_of_an_action_reaches_it_through_the_environment() -> None:
    document = load(ACTIONS[0])
    run, upload, command = document["runs"]["steps"][1:4]
    given = {*run["env"].values(), *upload["with"].values(), *command["env"].values()} - {"warn"}
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

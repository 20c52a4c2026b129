from pathlib import Path

import pytest

from tests.commands.program import call, call_json, write_workflow


def test_plan_shows_state_reason_and_argv_and_writes_nothing(tmp_path: Path) -> None:
    write_workflow(tmp_path, "--kernel", "mul")
    done = call(tmp_path, "plan", "--workflow", "workflow.toml")
    assert done.returncode == 0
    assert "toy:1 ...... cold: " in done.stdout
    assert "--model toy --kernel mul" in done.stdout
    assert not list((tmp_path / "home").rglob("*.json"))


def test_plan_after_run_is_warm_and_cold_with_force(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    call(tmp_path, "run", "--workflow", "workflow.toml")
    (model,) = call_json(tmp_path, "plan", "--workflow", "workflow.toml")["models"]
    assert (model["state"], model["problem"]) == ("warm", None)
    assert Path(model["marker"]).is_file()
    (model,) = call_json(tmp_path, "plan", "--workflow", "workflow.toml", "--force")["models"]
    assert model["state"] == "cold"


def test_what_would_fail_at_once_is_said_and_is_no_error(tmp_path: Path) -> None:
    done = call(tmp_path, "plan", "--models", "./missing", "--engine", "sglang")
    assert done.returncode == 0
    assert "problem: ./missing: no such folder" in done.stdout
    assert "sglang.launch_server" in done.stdout


def test_the_h200_workflow_is_planned_with_the_tests_arguments(tmp_path: Path) -> None:
    workflow = Path(__file__).parents[2] / "workflows" / "h200-8gpu.toml"
    models = call_json(tmp_path, "plan", "--workflow", str(workflow))["models"]
    assert [model["tp"] for model in models] == [8, 8, 8, 4, 8]
    mimo = " ".join(models[4]["argv"])
    assert mimo.endswith(
        "--dp 2 --enable-dp-attention --attention-backend fa3 "
        "--mm-enable-dp-encoder --mm-attention-backend fa3"
    )


@pytest.mark.parametrize("command", [["plan"], ["audit"], ["gc"], ["why", "toy"]])
def test_a_command_that_looks_runs_no_python_of_the_workflow(
    tmp_path: Path, command: list[str]
) -> None:
    python = tmp_path / "evil"
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    python.chmod(0o755)
    path = write_workflow(tmp_path)
    path.write_text(path.read_text().replace("[defaults]", f'[defaults]\npython = "{python}"'))
    done = call(tmp_path, *command, "--workflow", "workflow.toml")
    if command != ["gc"]:  # which has no marker to hold against it
        assert done.returncode == 2 and "would have to be run" in done.stderr
    assert not (tmp_path / "ran").exists()
    call(tmp_path, "key", "--workflow", "workflow.toml")
    assert (tmp_path / "ran").exists()

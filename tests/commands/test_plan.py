import json
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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "b200-4gpu",
            [
                "--enable-symm-mem",
                "--moe-runner-backend flashinfer_mxfp4",
                "--attn-dp-size 1",
                "--mamba-ssm-dtype bfloat16",
                "--linear-attn-prefill-backend cutedsl",
            ],
        ),
        (
            "h100-4gpu",
            [
                "--trust-remote-code",
                "--speculative-algorithm NEXTN",
                "--max-running-requests 128",
                "--random-seed 42",
            ],
        ),
    ],
)
def test_every_class_of_runner_is_planned(tmp_path: Path, name: str, said: list[str]) -> None:
    workflow = Path(__file__).parents[2] / "workflows" / f"{name}.toml"
    models = call_json(tmp_path, "plan", "--workflow", str(workflow))["models"]
    assert [model["tp"] for model in models] == [4] * len(said)
    for model, argument in zip(models, said, strict=True):
        assert argument in " ".join(model["argv"])


TWO_MORE = """
[[model]]
id = "long"
tp = 2
command = ["false"]
[[model]]
id = "short"
command = ["false"]
"""


def test_the_jobs_of_a_matrix_hold_what_run_shard_takes(tmp_path: Path) -> None:
    """Also after a warm-up, when this machine remembers more than the others do."""
    write_workflow(tmp_path, more=TWO_MORE)
    args = ("--workflow", "workflow.toml")
    jobs = json.loads(call(tmp_path, "plan", *args, "--matrix").stdout)["include"]
    assert [job["models"] for job in jobs] == ["long:2", "toy:1", "short:1"]
    assert jobs[0]["runs-on"] == ["self-hosted", "2-gpu"]
    done = call(tmp_path, "run", *args, "--shard", jobs[1]["shard"])
    assert done.returncode == 0 and done.stdout.startswith("toy:1 ...... warmed "), done.stderr
    again = json.loads(call(tmp_path, "plan", *args, "--matrix").stdout)["include"]
    assert [job["seconds"] < 20 for job in again] == [False, False, True], "toy's was recorded"
    for job in again:
        planned = call_json(tmp_path, "plan", *args, "--shard", job["shard"])["models"]
        assert [f"{each['model']}:{each['tp']}" for each in planned] == job["models"].split()


def test_a_share_beyond_the_models_is_empty(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--shard", "3/3")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["run", "--shard", "0/0"], "impossible shard 0/0"),
        (["run", "--shard", "5/4"], "impossible shard 5/4"),
        (["plan", "--shards", "2"], "are of --matrix"),
        (["run", "--shard", "1/2@3,4"], "made for another workflow"),
        (["plan", "--matrix", "--shards", "257"], "a matrix of 257 jobs"),
        (["plan", "--matrix", "--runner", "2=a", "--runner", "x8="], "not a class of runners"),
        (["fleet", "slurm", "--shards", "0"], "not in the range 1<=x<=10000"),
        (["plan", "--matrix", "--runner", "big=x"], "not a class of runners"),
    ],
)
def test_an_impossible_split_is_a_users_mistake(tmp_path: Path, args: list[str], said: str) -> None:
    write_workflow(tmp_path)
    done = call(tmp_path, *args, "--workflow", "workflow.toml")
    assert done.returncode == 2 and said in done.stderr
    assert not (tmp_path / "home").exists()


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

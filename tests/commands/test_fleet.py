"""`warmup-ci fleet`: what is printed, and that what is printed does what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands.program import call, get_env
from tests.jobs_program import server, write
from tests.needs import load

FLEET = ("--workflow", "workflow.toml")


def make_list(folder: Path, *args: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ConfigMap and the Job."""
    done = call(folder, "fleet", "kubernetes", *FLEET, "--image", "lab/engine:1", *args)
    assert done.returncode == 0, done.stderr
    config, job = json.loads(done.stdout)["items"]
    return config, job


def test_an_array_has_a_task_a_shard_and_execs_the_run(tmp_path: Path) -> None:
    write(tmp_path, server("a", tp=2), server("b", tp=4))
    done = call(tmp_path, "fleet", "slurm", *FLEET, "--", "--partition=h200", "--comment=a b;c")
    lines = done.stdout.splitlines()
    assert lines[0] == "#!/bin/bash"
    for option in ("--array=1-2", "--gres=gpu:4", "--signal=B:TERM@60", "--requeue"):
        assert f"#SBATCH {option}" in lines
    assert lines[lines.index("") - 2 : lines.index("")] == [
        "#SBATCH --partition=h200",
        "#SBATCH '--comment=a b;c'",
    ]
    assert lines[-1].startswith("exec ")
    assert lines[-1].endswith(
        f'run --workflow {tmp_path}/workflow.toml --jobs auto --shard "$SLURM_ARRAY_TASK_ID/2"'
    )
    assert subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=False).returncode == 0


def test_without_gpus_none_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path, server("a"))
    assert "--gres" not in call(tmp_path, "fleet", "slurm", *FLEET, "--gpus", "0").stdout


def test_per_node_every_node_warms_all_on_its_own_disk(tmp_path: Path) -> None:
    write(tmp_path, server("a"), server("b"))
    done = call(tmp_path, "fleet", "slurm", *FLEET, "--per-node", "--", "--nodes=4")
    assert "--array" not in done.stdout and "--shard" not in done.stdout
    assert "exec srun --ntasks-per-node=1" in done.stdout
    assert 'WARMUP_CI_HOME="${WARMUP_CI_HOME:-/var/tmp/' in done.stdout


@pytest.mark.parametrize("bad", ["two\nlines", "--ok\nexec evil", "positional"])
def test_what_is_no_option_of_sbatch_is_refused(tmp_path: Path, bad: str) -> None:
    write(tmp_path, server("a"))
    done = call(tmp_path, "fleet", "slurm", *FLEET, "--", bad)
    assert done.returncode == 2 and done.stdout == ""


def test_the_job_is_indexed_without_root_and_with_its_gpus(tmp_path: Path) -> None:
    write(tmp_path, server("a", tp=2), server("b", tp=8))
    args = ("--pack", "lab/pack:1", "--queue", "gpus", "--name", "warm-h200")
    config, job = make_list(tmp_path, *args)
    assert config["data"]["workflow.toml"] == (tmp_path / "workflow.toml").read_text()
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["suspend"]) == ("Indexed", 2, True)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    pod = spec["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 8}}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["root"]["emptyDir"] == {}
    assert volumes["pack"]["image"]["reference"] == "lab/pack:1"
    assert volumes["workflow"]["configMap"]["name"] == "warm-h200"
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)


@pytest.mark.parametrize("args", [[], ["--pack", "lab/pack:1", "--queue", "q"], ["--claim", "c"]])
def test_it_holds_against_the_published_schema(tmp_path: Path, args: list[str]) -> None:
    """PyPI's kubernetes-validate carries the project's own OpenAPI schemas, and asks nobody."""
    validate = load("kubernetes_validate")
    write(tmp_path, server("a"))
    for item in make_list(tmp_path, *args):
        for version in ("1.31", "1.37"):
            validate.validate(item, version, strict=True)
        item["surplus"] = 1
        with pytest.raises(validate.ValidationError):
            validate.validate(item, "1.37", strict=True)


def test_the_containers_command_warms_the_share_of_its_index(tmp_path: Path) -> None:
    """With the mount points moved into the test's folder."""
    write(tmp_path, server("a"), server("b", tp=2))
    _, job = make_list(tmp_path, "--pack", "lab/pack:1")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (tmp_path / "pack" / "triton").mkdir(parents=True)
    (tmp_path / "pack" / "triton" / "from-the-pack").write_text("kernel")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "warmup-ci"
    program.symlink_to(Path(__file__).parents[2] / ".venv" / "bin" / "warmup-ci")

    def move(text: str) -> str:
        text = text.replace("/etc/warmup-ci/", f"{tmp_path}/").replace(
            "/pack/", f"{tmp_path}/pack/"
        )
        return text.replace("/warmup/", f"{tmp_path}/root/")

    env = {each["name"]: move(each["value"]) for each in container["env"]}
    path = f"{program.parent}:{get_env(tmp_path)['PATH']}"
    base = {k: v for k, v in get_env(tmp_path).items() if k != "TRITON_CACHE_DIR"}
    for index, name in enumerate(("b:2", "a:1")):
        done = subprocess.run(
            [move(word) for word in container["command"]],
            env={**base, **env, "PATH": path, "JOB_COMPLETION_INDEX": str(index)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{name} ...... warmed "), done.stdout
    caches = tmp_path / "root" / "caches" / "triton"
    assert (caches / "from-the-pack").exists()
    assert {"HASHA", "HASHB"} <= {path.name for path in caches.iterdir()}


def test_an_impossible_name_or_no_workflow_is_a_users_mistake(tmp_path: Path) -> None:
    write(tmp_path, server("a"))
    args = ("fleet", "kubernetes", "--image", "i")
    assert call(tmp_path, *args, *FLEET, "--name", "A_b").returncode == 2
    done = call(tmp_path, *args, "--models", "a", "--engine", "sglang")
    assert done.returncode == 2 and "needs a workflow" in done.stderr


def test_a_script_that_stdout_does_not_take_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, server("a"))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "warmup", "fleet", "slurm", *FLEET],
            cwd=tmp_path,
            env=get_env(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 3
    assert "cannot write to stdout" in done.stderr

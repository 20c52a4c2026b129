"""`warmup-ci run` as a user has it: the whole program, a real server, real files."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands.program import TOY, add_package, call, call_json, get_env, write_workflow
from warmup.cli import spread


def test_cold_then_warm(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    first = call(tmp_path, "run", "--workflow", "workflow.toml")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("toy:1 ...... warmed ")
    assert "(+1 triton)" in first.stdout
    assert "POST /generate" in first.stderr, "the log's tail is shown on success too"
    document = call_json(tmp_path, "run", "--workflow", "workflow.toml")
    (model,) = document["models"]
    assert (model["state"], model["phases"], model["log"]) == ("warm", {}, None)
    assert Path(model["marker"]).is_file()
    assert f"--{document['version_key']}.json" in model["marker"]


def test_the_document_of_a_cold_run(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    document = call_json(tmp_path, "run", "--workflow", "workflow.toml")
    (model,) = document["models"]
    assert list(document) == ["schema", "run_id", "exit_code", "version_key", "models"]
    assert model["state"] == "warmed"
    assert {"spawn", "ready", "request", "stop"} <= set(model["phases"])
    assert model["new_entries"] == {"triton": 1}
    assert model["argv"][-2:] == ["--model", "toy"]
    run_dir = tmp_path / "home" / "runs" / document["run_id"]
    assert Path(model["log"]) == run_dir / "toy.log"
    lines = (run_dir / "events.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert (kinds[0], kinds[-1]) == ("run_started", "run_finished")


def test_a_lost_cache_entry_makes_it_cold_and_is_named(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    call(tmp_path, "run", "--workflow", "workflow.toml")
    shutil.rmtree(tmp_path / "triton")
    (model,) = call_json(tmp_path, "run", "--workflow", "workflow.toml")["models"]
    assert model["state"] == "warmed"
    assert "triton" in model["reason"]
    assert "HASHADD" in model["reason"]


def test_another_argument_is_another_launch(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    call(tmp_path, "run", "--workflow", "workflow.toml")
    write_workflow(tmp_path, "--kernel", "mul")
    (model,) = call_json(tmp_path, "run", "--workflow", "workflow.toml")["models"]
    assert (model["state"], model["new_entries"]) == ("warmed", {"triton": 1})


def test_force_warms_what_is_warm(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    call(tmp_path, "run", "--workflow", "workflow.toml")
    (model,) = call_json(tmp_path, "run", "--workflow", "workflow.toml", "--force")["models"]
    assert (model["state"], model["reason"]) == ("warmed", "asked for with --force")


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--answer", "500"], "HTTP 500"),
        (["--die-on-request"], "status 3"),
        (["--no-such-flag"], "exited with status 2"),
    ],
)
def test_a_failure_is_no_marker_and_shows_the_log(
    tmp_path: Path, args: list[str], reason: str
) -> None:
    write_workflow(tmp_path, *args)
    done = call(tmp_path, "run", "--workflow", "workflow.toml")
    assert done.returncode == 1
    assert "toy:1 ...... failed" in done.stdout
    assert reason in done.stdout
    assert "  | " in done.stderr
    assert "error: " in done.stderr
    assert "\n  log: " in done.stderr
    assert not list((tmp_path / "home" / "markers").iterdir())


def test_a_warm_run_imports_what_it_needs_to_look(tmp_path: Path) -> None:
    """click and msgspec; what talks to servers, looks at processes or locks is for cold ones."""
    write_workflow(tmp_path)
    call(tmp_path, "run", "--workflow", "workflow.toml")
    script = (
        "import sys, warmup.cli\n"
        "sys.argv[1:] = ['run', '--workflow', 'workflow.toml']\n"
        "try:\n    warmup.cli.main()\n"
        "finally:\n    print('HEAVY', sorted(set(sys.modules) & set(\n"
        "        ('requests', 'urllib3', 'psutil', 'filelock', 'rich', 'pynvml', 'torch'))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=get_env(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "toy:1 ...... warm (" in done.stdout, done.stderr
    assert done.stdout.endswith("HEAVY []\n")


def test_the_exception_is_the_cause_and_the_tail_shows_it(tmp_path: Path) -> None:
    """Not `exited with status 1`, and not sixty lines of what nanobind leaked."""
    write_workflow(tmp_path, "--raise-on-request")
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--log-lines", "5")
    assert "the leader exited with status 1; its log says: RuntimeError: no device" in done.stdout
    tail = [line for line in done.stderr.splitlines() if line.startswith("  | ")]
    assert "  | RuntimeError: no device" in tail
    assert tail[-1] == "  | [… 60 lines more of that …]"


def test_the_phase_that_failed_is_not_done(tmp_path: Path) -> None:
    write_workflow(tmp_path, "--never-ready")
    path = tmp_path / "workflow.toml"
    path.write_text(path.read_text().replace("start_timeout_s = 20", "start_timeout_s = 3"))
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--json")
    (model,) = json.loads(done.stdout)["models"]
    assert model["failed_phase"] == "ready"
    assert "toy:1 ready failed 3." in done.stderr
    assert "toy:1 stop done" in done.stderr
    assert "ready done" not in done.stderr
    tail = [line for line in done.stderr.splitlines() if line.startswith("  | ")]
    assert tail, "it has said something"
    assert not any("GET /health" in line for line in tail), "our own polls are no news"


@pytest.mark.parametrize(
    ("args", "phase"), [(["--answer", "500"], "request"), (["--no-such-flag"], "ready")]
)
def test_the_failed_phase_is_named(tmp_path: Path, args: list[str], phase: str) -> None:
    write_workflow(tmp_path, *args)
    (model,) = call_json(tmp_path, "run", "--workflow", "workflow.toml")["models"]
    assert model["failed_phase"] == phase


def test_the_two_boots_of_a_proof_are_told_apart(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--prove", "--json")
    (model,) = json.loads(done.stdout)["models"]
    phases = {"spawn", "ready", "request", "stop"}
    assert phases | {f"prove_{phase}" for phase in phases} <= set(model["phases"])
    assert model["failed_phase"] is None
    lines = done.stderr.splitlines()
    assert len([line for line in lines if line.startswith("toy:1 ready done")]) == 1
    assert len([line for line in lines if line.startswith("toy:1 proof: ready done")]) == 1


def test_a_model_without_such_kernels_is_no_warning(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"architectures": ["Qwen2ForCausalLM"]}')
    path = add_package(tmp_path, "sglang")
    done = call(tmp_path, "run", "--models", "./model:1", "--engine", "sglang", PYTHONPATH=path)
    assert done.returncode == 1, "there is no sglang here"
    assert "compiles all kernels" not in done.stderr


def test_one_failure_costs_no_other_but_with_fail_fast(tmp_path: Path) -> None:
    more = '\n[[model]]\nid = "second"\ncommand = ["no-such-program-anywhere"]\n'
    write_workflow(tmp_path, "--answer", "500", more=more + more.replace("second", "third"))
    document = call_json(tmp_path, "run", "--workflow", "workflow.toml")
    assert [model["state"] for model in document["models"]] == ["failed"] * 3
    assert "no-such-program-anywhere" in document["models"][1]["reason"]
    document = call_json(tmp_path, "run", "--workflow", "workflow.toml", "--fail-fast")
    assert [model["state"] for model in document["models"]] == ["failed", "skipped", "skipped"]
    assert document["exit_code"] == 1


def test_a_deadline_that_passes_fails_what_cannot_start(tmp_path: Path) -> None:
    more = '\n[[model]]\nid = "second"\ncommand = ["true"]\n'
    write_workflow(tmp_path, "--never-ready", more=more)
    document = call_json(tmp_path, "run", "--workflow", "workflow.toml", "--deadline", "1.5")
    first, second = document["models"]
    assert "the step's deadline" in first["reason"]
    assert "no time is left" in second["reason"]


def test_prove_fails_what_compiles_on_every_boot(tmp_path: Path) -> None:
    write_workflow(tmp_path, "--always-compile")
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--prove")
    assert done.returncode == 1
    assert "not proven" in done.stdout
    assert "triton add" in done.stdout
    assert not list((tmp_path / "home" / "markers").iterdir())
    write_workflow(tmp_path)
    (model,) = call_json(tmp_path, "run", "--workflow", "workflow.toml")["models"]
    assert model["proven"] is False
    (model,) = call_json(tmp_path, "run", "--workflow", "workflow.toml", "--prove")["models"]
    assert (model["state"], model["proven"]) == ("warmed", True)
    assert model["reason"] == "warm, but not proven"
    (model,) = call_json(tmp_path, "run", "--workflow", "workflow.toml", "--prove")["models"]
    assert (model["state"], model["proven"]) == ("warm", True)


def test_a_marker_that_a_forced_boot_contradicts_is_taken_away(tmp_path: Path) -> None:
    toy = tmp_path / "toy.py"
    toy.write_text(TOY.read_text())
    write_workflow(tmp_path)
    text = (tmp_path / "workflow.toml").read_text().replace(str(TOY), str(toy))
    (tmp_path / "workflow.toml").write_text(text)
    call(tmp_path, "run", "--workflow", "workflow.toml")
    toy.write_text("raise SystemExit('broken since')")
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--force")
    assert done.returncode == 1
    assert "its marker is contradicted and removed" in done.stderr
    (planned,) = call_json(tmp_path, "plan", "--workflow", "workflow.toml")["models"]
    assert planned["state"] == "cold"


def test_a_server_gets_the_workflows_limit_of_processes(tmp_path: Path) -> None:
    path = write_workflow(tmp_path)
    lines = path.read_text().splitlines()
    script = 'command = ["sh", "-c", "grep processes /proc/self/limits; exit 7"]'
    lines = [script if line.startswith("command") else line for line in lines]
    path.write_text("\n".join(lines).replace("[defaults]", "[defaults]\nmax_processes = 4321"))
    done = call(tmp_path, "run", "--workflow", "workflow.toml")
    assert re.search("Max processes +4321 +4321 ", done.stderr)
    assert ("max_processes has no effect" in done.stderr) == (os.geteuid() == 0)
    path.write_text(path.read_text().replace("4321", "0"))
    done = call(tmp_path, "run", "--workflow", "workflow.toml")
    assert "Max processes" in done.stderr and "4321" not in done.stderr
    assert "has no effect" not in done.stderr


SILENT = "import time; time.sleep(60)"
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


LOST_SHIM = "import os, time; os.kill(os.getppid(), 9); time.sleep(60)"
# The first child of the orchestrator, two above: as a runner that cancels the step would.
CANCELLED = """
import os, pathlib, time
shim = pathlib.Path(f"/proc/{os.getppid()}/stat").read_text().rsplit(") ")[1].split()
os.kill(int(shim[1]), 2)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("toy", "more", "status", "said"),
    [
        (SILENT, ["--deadline", "600"], 1, "not ready within 2 s"),
        (SILENT, ["--deadline", "1"], 1, "the step's deadline has passed"),
        (KILLED, [], 1, "was killed by SIGKILL"),
        (LOST_SHIM, [], 1, "lost its shim"),
        (CANCELLED, [], 130, "SIGINT"),
    ],
)
def test_a_failure_that_is_not_the_servers_costs_no_marker(
    tmp_path: Path, toy: str, more: list[str], status: int, said: str
) -> None:
    """A starved host, and the OOM killer, once counted as evidence against it (F25)."""
    path = tmp_path / "toy.py"
    path.write_text(TOY.read_text())
    write_workflow(tmp_path)
    workflow = tmp_path / "workflow.toml"
    workflow.write_text(workflow.read_text().replace(str(TOY), str(path)))
    call(tmp_path, "run", "--workflow", "workflow.toml")
    good = workflow.read_text()
    workflow.write_text(good.replace("start_timeout_s = 20", "start_timeout_s = 2"))
    path.write_text(toy)
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--force", *more)
    assert done.returncode == status and "contradicted" not in done.stderr
    assert said in done.stderr
    (planned,) = call_json(tmp_path, "plan", "--workflow", "workflow.toml")["models"]
    assert planned["state"] == "warm", planned["reason"]


def test_a_vector_that_cannot_be_read_is_cold_and_gets_no_marker(tmp_path: Path) -> None:
    """The server is booted all the same: its caches are warm then, whatever nvcc is."""
    nvcc = tmp_path / "cuda" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("#!/bin/sh\necho release 13.0, V13.0.88\n")
    nvcc.chmod(0o755)
    write_workflow(tmp_path)
    cuda = {"CUDA_HOME": str(tmp_path / "cuda")}
    call(tmp_path, "run", "--workflow", "workflow.toml", **cuda)
    (marker,) = (tmp_path / "home" / "markers").iterdir()
    nvcc.write_text("#!/bin/sh\nkill -9 $$\n")
    done = call(tmp_path, "run", "--workflow", "workflow.toml", **cuda)
    assert done.returncode == 3
    assert "could not be read: nvcc (exit status -9)" in done.stderr
    assert list((tmp_path / "home" / "markers").iterdir()) == [marker]
    key = call(tmp_path, "key", "--only-key", **cuda)
    assert key.returncode == 0 and "this key fits no marker" in key.stderr
    nvcc.write_text("#!/bin/sh\necho release 13.0, V13.0.88\n")
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--json", **cuda)
    assert json.loads(done.stdout)["models"][0]["state"] == "warm", done.stdout


@pytest.mark.parametrize("how", ["truncated", "flipped", "folder", "future"])
def test_a_marker_that_is_no_good_is_cold_and_kept(tmp_path: Path, how: str) -> None:
    write_workflow(tmp_path)
    (model,) = call_json(tmp_path, "run", "--workflow", "workflow.toml")["models"]
    marker = Path(model["marker"])
    good = marker.read_bytes()
    if how == "folder":
        marker.unlink()
        marker.mkdir()
    elif how == "future":
        marker.write_bytes(good.replace(b'"schema": 2', b'"schema": 99'))
    else:
        bad = good[: len(good) // 2] if how == "truncated" else good.replace(b"toy", b"tox")
        marker.write_bytes(bad)
    (planned,) = call_json(tmp_path, "plan", "--workflow", "workflow.toml")["models"]
    assert planned["state"] == "cold"
    assert "marker" in planned["reason"]
    assert marker.exists(), "looking deletes nothing"
    done = call(tmp_path, "run", "--workflow", "workflow.toml")
    assert done.returncode == (3 if how == "folder" else 0), done.stderr


def test_a_signal_ends_the_run_its_server_and_the_rest(tmp_path: Path) -> None:
    more = '\n[[model]]\nid = "second"\ncommand = ["true"]\n'
    write_workflow(tmp_path, "--never-ready", "--print", "I am up", more=more)
    program = subprocess.Popen(
        [sys.executable, "-m", "warmup", "run", "--workflow", "workflow.toml", "--json"],
        cwd=tmp_path,
        env=get_env(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not any("I am up" in log.read_text() for log in tmp_path.glob("home/runs/*/toy.log")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=30)
    assert program.returncode == 130
    assert [model["state"] for model in json.loads(out)["models"]] == ["failed", "skipped"]
    assert "  | I am up" in err
    (ledger,) = tmp_path.glob("home/runs/*/ledger.json")
    assert json.loads(ledger.read_text())["finished"] is True


def test_a_secret_of_the_workflow_is_not_shown(tmp_path: Path) -> None:
    more = '\nenv = { MY_SERVICE_TOKEN = "correct-horse-battery" }\n'
    write_workflow(tmp_path, "--print", "using correct-horse-battery today", more=more)
    done = call(tmp_path, "run", "--workflow", "workflow.toml")
    assert "using *** today" in done.stderr
    assert "correct-horse" not in done.stdout + done.stderr


def test_a_secret_in_the_log_is_not_shown(tmp_path: Path) -> None:
    write_workflow(tmp_path, "--print", "using hf_abcdefghijklmnopqrstuvwxyz012345 today")
    done = call(
        tmp_path,
        "run",
        "--workflow",
        "workflow.toml",
        HF_TOKEN="hf_abcdefghijklmnopqrstuvwxyz012345",
    )
    assert "using *** today" in done.stderr
    assert "hf_abc" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run"], "no model named"),
        (["run", "--models"], "names no model"),
        (["run", "--models", ""], "names no model"),
        (["run", "--models", "a:0"], "impossible tensor parallel size"),
        (["run", "--models", "a:-3"], "impossible tensor parallel size"),
        (["run", "--models", "a:1000000000"], "impossible tensor parallel size"),
        (["run", "--models", "a:1", "a:1"], "duplicate model"),
        (["run", "--models", "./missing"], "no such folder"),
        (["run", "--models", "org/unknown"], "sglang"),
        (["run", "--models", "a", "--engine", "sglan"], "did you mean sglang?"),
        (["run", "--workflow", "missing.toml"], "No such file"),
        (["run", "--engine", "sglan", "--workflow", "workflow.toml"], "did you mean sglang?"),
        (["run", "--deadline", "0"], "--deadline"),
        (["run", "--start-timeout-s", "nan"], "'nan' is not a number of seconds"),
        (["run", "--stop-grace-s", "inf"], "--stop-grace-s"),
        ([], "Missing command"),
        (["run", "--nonsense"], "--nonsense"),
        (["nonsense"], "nonsense"),
    ],
)
def test_a_users_mistake_is_an_error_not_a_traceback(
    tmp_path: Path, args: list[str], words: str
) -> None:
    done = call(tmp_path, *args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert not (tmp_path / "home").exists(), "nothing is made before it is needed"


def test_home_that_cannot_be_written(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    (tmp_path / "home").write_text("a file")
    done = call(tmp_path, "run", "--workflow", "workflow.toml")
    assert done.returncode == 3
    assert "error: home is not writable" in done.stderr
    assert "hint: " in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_valid_markers_of_a_read_only_home_are_used(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    call(tmp_path, "run", "--workflow", "workflow.toml")
    script = (
        "mount --bind home home && mount -o remount,ro,bind home || exit 77;"
        ' ! touch home/x 2>/dev/null && exec "$0" -m warmup run --workflow workflow.toml'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable],
        cwd=tmp_path,
        env=get_env(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("no mount namespaces here")
    assert (done.returncode, done.stdout[:16]) == (0, "toy:1 ...... war"), done.stderr


def test_two_runs_on_one_home_launch_once(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "warmup", "run", "--workflow", "workflow.toml", "--json"],
            cwd=tmp_path,
            env=get_env(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    states = [json.loads(run.communicate(timeout=60)[0])["models"][0]["state"] for run in runs]
    assert sorted(states) == ["warm", "warmed"]


def test_models_are_spread_for_click() -> None:
    assert spread(["--models", "a", "b:2", "--json"]) == [
        "--models=a",
        "--models=b:2",
        "--json",
    ]
    assert spread(["--models=a", "b"]) == ["--models=a", "--models=b"]
    assert spread(["--", "--models"]) == ["--", "--models"]


def test_kernels_alone_where_no_kernels_are_derived_is_a_failure(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--strategy", "kernels")
    assert done.returncode == 1
    assert "kernels of engine command are not derived" in done.stdout
    assert not list((tmp_path / "home" / "markers").iterdir())


def test_an_engine_that_is_not_installed_is_said_before_anything_starts(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    workflow = tmp_path / "workflow.toml"
    workflow.write_text(workflow.read_text() + '\n[[model]]\nid = "org/m"\nengine = "vllm"\n')
    done = call(tmp_path, "run", "--workflow", "workflow.toml")
    assert done.returncode == 2
    assert "error: org/m:1: engine vllm is not installed" in done.stderr
    assert f"cause: {sys.executable} has no vllm" in done.stderr
    assert not (tmp_path / "home" / "runs").exists()
    planned = call(tmp_path, "plan", "--workflow", "workflow.toml")
    assert planned.returncode == 0
    assert "problem: org/m:1: engine vllm is not installed" in planned.stdout


def test_falling_back_to_the_server_is_said(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    configs = Path(__file__).parents[1] / "kernels" / "configs"
    shutil.copy(configs / "deepseek-v3.json", model / "config.json")
    path = add_package(tmp_path, "sglang")
    done = call(tmp_path, "run", "--models", "./model:8", "--engine", "sglang", PYTHONPATH=path)
    assert "its server compiles all kernels, since DeepGEMM compiles on a GPU only" in done.stderr
    assert done.returncode == 1, "there is no sglang here"


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_half_entry_is_put_aside_before_the_server_starts(tmp_path: Path, is_asked: bool) -> None:
    workflow = write_workflow(tmp_path)
    entry = tmp_path / "triton" / "HASH"
    entry.mkdir(parents=True)
    (entry / "kernel.cubin").write_bytes(b"")
    args = [] if is_asked else ["--no-repair"]
    done = call(tmp_path, "run", "--workflow", str(workflow), *args)
    assert done.returncode == 0, done.stderr
    assert entry.exists() != is_asked
    assert ("repaired " in done.stderr) == is_asked
    (run_dir,) = (tmp_path / "home" / "runs").iterdir()
    events = [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]
    repaired = [each for each in events if each["kind"] == "repaired"]
    assert [each["data"]["rule"] for each in repaired] == (["cubin-broken"] if is_asked else [])

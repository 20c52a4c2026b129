"""`run --target`: seeds, what they leave out, and the one boot on the GPU that makes them warm.

The servers are toys that write cache entries; the null device under them is the real one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.program import add_package, call, call_json, get_env, write_workflow
from tests.state.helpers import wait_until
from tests.target.gpu_host import call_json_on_gpu, call_on_gpu
from tests.target.null_device import get_libraries

RUN = ("run", "--workflow", "workflow.toml")
PLAN = ("plan", "--workflow", "workflow.toml")


@pytest.fixture(autouse=True)
def compiled_already(tmp_path: Path) -> None:
    """The null device is in the home, as after an earlier run."""
    shutil.copytree(get_libraries().parent, tmp_path / "home" / "target")


def seed(folder: Path, *args: str) -> dict[str, object]:
    write_workflow(folder, *args)
    document = call_json(folder, *RUN, "--target", "h200x8")
    assert document["exit_code"] == 0
    (model,) = document["models"]
    assert model["state"] == "seeded"
    found: dict[str, object] = model
    return found


def test_the_server_alone_sees_the_null_device(tmp_path: Path) -> None:
    write_workflow(tmp_path, "--expand", "$LD_PRELOAD of $CUDA_VISIBLE_DEVICES")
    done = call(tmp_path, *RUN, "--target", "h200x2")
    assert done.returncode == 0, done.stderr
    assert "libcudart.so.13" in done.stderr and " of 0 " in done.stderr
    assert "for h200x2" in done.stdout


def test_a_seed_is_done_for_its_target_and_warm_for_nobody(tmp_path: Path) -> None:
    model = seed(tmp_path)
    marker = json.loads(Path(str(model["marker"])).read_text())
    assert (marker["warmed_by"], marker["target"]) == ("target", "h200x8")
    vector = {each["name"]: each["value"] for each in marker["version_vector"]}
    assert (vector["gpu_name"], vector["sm_count"]) == ("NVIDIA H200", "132")
    assert vector["driver"] == "assumed 580.65.06"
    (again,) = call_json(tmp_path, *RUN, "--target", "h200x8")["models"]
    assert (again["state"], again["seconds"]) == ("seeded", 0.0)
    # Without a target the same home has nothing for this host.
    (here,) = call_json(tmp_path, *PLAN)["models"]
    assert here["state"] == "cold"
    assert here["reason"].startswith("seeded for h200x8 on ")
    assert "driver assumed 580.65.06 → none" in here["reason"]


def test_plan_says_what_would_be_seeded(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    said = call(tmp_path, *PLAN, "--target", "h200x2").stdout
    assert "cold: never warmed" in said and "gpus: 0 of h200x2" in said
    assert "would be seeded" in said
    seed(tmp_path)
    assert " seeded: seeded for h200x8" in call(tmp_path, *PLAN, "--target", "h200x8").stdout


def test_what_an_autotuner_wrote_is_left_out_and_named(tmp_path: Path) -> None:
    model = seed(tmp_path, "--tune", "add")
    assert model["left_out"] == ["triton tuning of add"]
    assert model["new_entries"] == {"triton": 1}
    assert not list(tmp_path.rglob("*.autotune.json"))
    (manifest,) = (tmp_path / "home" / "manifests").iterdir()
    assert ".autotune.json" not in manifest.read_text()


def test_tuning_goes_when_the_server_fails_and_that_of_others_stays(tmp_path: Path) -> None:
    theirs = tmp_path / "triton" / "HASHTHEIRS" / "mul.autotune.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("{}")
    write_workflow(tmp_path, "--tune", "add", "--answer", "500")
    assert call(tmp_path, *RUN, "--target", "h200x8").returncode == 1
    assert list(tmp_path.rglob("*.autotune.json")) == [theirs]
    model = seed(tmp_path, "--tune", "add")
    assert model["left_out"] == ["triton tuning of add"] and theirs.exists()
    (manifest,) = (tmp_path / "home" / "manifests").iterdir()
    assert ".autotune.json" not in manifest.read_text()


def test_what_a_killed_run_left_is_taken_away_by_the_next(tmp_path: Path) -> None:
    """The orchestrator is killed between the server's request and the removal."""
    write_workflow(tmp_path, "--tune", "$TUNED")
    command = [sys.executable, "-m", "warmup", *RUN, "--target", "h200x8"]
    left = tmp_path / "triton" / "HASHTUNEDMUL" / "mul.autotune.json"
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=get_env(tmp_path, TUNED="mul", TOY_HANGS="1"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        wait_until(left.exists)
        run.kill()
    assert left.exists()
    (model,) = call_json(tmp_path, *RUN, "--target", "h200x8", TUNED="add")["models"]
    assert (model["state"], model["left_out"]) == ("seeded", ["triton tuning of add"])
    assert not list(tmp_path.rglob("*.autotune.json"))


def test_one_boot_on_the_gpu_that_compiles_nothing_makes_it_warm(tmp_path: Path) -> None:
    seed(tmp_path, "--tune", "add")
    (planned,) = call_json_on_gpu(tmp_path, "h200x8", *PLAN)["models"]
    assert planned["state"] == "seeded"
    assert "driver assumed 580.65.06 → 580.95.05" in planned["reason"]
    why = call_on_gpu(tmp_path, "h200x8", "why", "toy", "--workflow", "workflow.toml")
    assert why.returncode == 1 and "toy:1 is seeded: " in why.stdout
    assert "left out: triton tuning of add" in why.stdout
    (model,) = call_json_on_gpu(tmp_path, "h200x8", *RUN)["models"]
    assert (model["state"], model["proven"], model["seed_missed"]) == ("warmed", True, [])
    marker = json.loads(Path(model["marker"]).read_text())
    assert (marker["warmed_by"], marker["target"]) == ("server", "h200x8")
    assert list(model["phases"]).count("ready") == 1  # one boot
    (again,) = call_json_on_gpu(tmp_path, "h200x8", *RUN)["models"]
    assert (again["state"], again["seconds"]) == ("warm", 0.0)
    document = call_json_on_gpu(tmp_path, "h200x8", "audit", "--workflow", "workflow.toml")
    assert sorted(each["state"] for each in document["markers"]) == ["fresh", "superseded"]


def test_what_a_seed_missed_is_named_by_run_and_by_why(tmp_path: Path) -> None:
    seed(tmp_path, "--always-compile")
    (model,) = call_json_on_gpu(tmp_path, "h200x8", *RUN)["models"]
    assert (model["state"], model["proven"]) == ("warmed", False)
    assert model["seed_missed"] == ["triton add"]
    why = call_on_gpu(tmp_path, "h200x8", "why", "toy", "--workflow", "workflow.toml")
    assert why.returncode == 0
    assert "its seed for h200x8 missed: triton add" in why.stdout


@pytest.mark.parametrize("other", ["h100x8", "b200x8"])
def test_a_seed_for_another_gpu_is_no_seed(tmp_path: Path, other: str) -> None:
    seed(tmp_path)
    (planned,) = call_json_on_gpu(tmp_path, other, *PLAN)["models"]
    assert planned["state"] == "cold"
    assert "gpu_name NVIDIA H200 → " in planned["reason"]


def test_audit_and_gc_let_a_seed_be(tmp_path: Path) -> None:
    seed(tmp_path)
    document = call_json(tmp_path, "audit", "--workflow", "workflow.toml")
    assert [each["state"] for each in document["markers"]] == ["seeded"]
    call(tmp_path, "gc", "--workflow", "workflow.toml")
    assert len(list((tmp_path / "home" / "markers").iterdir())) == 1
    assert list((tmp_path / "triton").iterdir())


def test_a_seed_whose_caches_are_gone_is_cold(tmp_path: Path) -> None:
    seed(tmp_path)
    for path in (tmp_path / "triton").rglob("*.cubin"):
        path.unlink()
    (planned,) = call_json_on_gpu(tmp_path, "h200x8", *PLAN)["models"]
    assert planned["state"] == "cold" and "triton" in planned["reason"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--target", "h300"], "there is no profile of a GPU 'h300'"),
        (["--target", "h200x0"], "a target of 0 GPUs cannot be"),
        (["--target", "h200x65"], "a target of 65 GPUs cannot be"),
        (["--target", "8"], "not a target"),
        (["--target", "h200", "--target-driver", "new"], "not a driver's version: 'new'"),
        (["--target", "h200", "--strategy", "kernels"], 'strategy = "kernels" makes no seed'),
    ],
)
def test_what_cannot_be_a_target_is_a_mistake(tmp_path: Path, args: list[str], said: str) -> None:
    write_workflow(tmp_path)
    done = call(tmp_path, *RUN, *args)
    assert done.returncode == 2 and said in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("args", "env", "said"),
    [
        ((), {"TORCHINDUCTOR_MAX_AUTOTUNE": "1"}, "TORCHINDUCTOR_MAX_AUTOTUNE=1"),
        (("--compile-mode", "max-autotune"), {}, "max-autotune"),
        (('{"max_autotune": true}',), {}, "max_autotune"),
    ],
)
def test_autotuning_is_refused(
    tmp_path: Path, args: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    write_workflow(tmp_path, *args)
    done = call(tmp_path, *RUN, "--target", "h200", **env)
    assert done.returncode == 2
    assert "asks for autotuning, which needs the GPU" in done.stderr
    assert said in done.stderr


def test_what_names_autotuning_and_leaves_it_off_is_seeded(tmp_path: Path) -> None:
    seed(tmp_path, "--expand", '{"max_autotune": false}')


@pytest.mark.parametrize(
    ("cuda", "said"),
    [
        ("None", "its torch 2.14.1 was built for no CUDA (it is a CPU build); CUDA 13 is wanted"),
        ("'12.9'", "its torch 2.14.1 was built for CUDA 12.9; CUDA 13 is wanted"),
    ],
)
def test_an_engine_with_another_torch_is_refused(tmp_path: Path, cuda: str, said: str) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text(
        '{"architectures": ["Qwen2_5_VLForConditionalGeneration"]}'
    )
    path = add_package(tmp_path, "torch")
    version = f"__version__ = '2.14.1'\ncuda: str | None = {cuda}\n"
    (tmp_path / "packages" / "torch" / "version.py").write_text(version)
    # Before the torch of the tests themselves.
    path = os.pathsep.join(reversed(path.split(os.pathsep)))
    done = call(tmp_path, "run", "--models", "./tiny", "--target", "h200", PYTHONPATH=path)
    assert done.returncode == 2 and said in done.stderr, done.stderr


def test_more_ranks_than_the_target_has(tmp_path: Path) -> None:
    done = call(
        tmp_path, "run", "--models", "org/name:4", "--engine", "sglang", "--target", "h200x2"
    )
    assert done.returncode == 2 and "the target h200x2 has 2" in done.stderr


def test_a_real_driver_is_refused(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libcuda.so.1").touch()
    done = call(tmp_path, *RUN, "--target", "h200", LD_LIBRARY_PATH=str(tmp_path / "lib"))
    assert done.returncode == 3
    assert "a real CUDA driver is visible" in done.stderr


def test_the_toolkits_stub_for_linking_is_no_driver(tmp_path: Path) -> None:
    """NVIDIA's images for development name its folder in LIBRARY_PATH, where gcc finds it."""
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    (stubs / "stub.c").write_text("int cuInit(unsigned flags) { return 100; }\n")
    compile_stub = ["cc", "-shared", "-Wl,-soname,libcuda.so.1", "-o", "libcuda.so", "stub.c"]
    subprocess.run(compile_stub, cwd=stubs, check=True)
    write_workflow(tmp_path)
    done = call(tmp_path, *RUN, "--target", "h200", LIBRARY_PATH=str(stubs))
    assert done.returncode == 0, done.stderr


OWN_RUNTIME = """
#define _GNU_SOURCE
#include <dlfcn.h>
__attribute__((constructor)) static void begin(void) {
    const void *table;
    int (*ask)(const void **, const void *) = dlsym(RTLD_DEFAULT, "cuGetExportTable");
    if (ask) ask(&table, "sixteen bytes id");
}
"""


@pytest.mark.parametrize("answer", ["200", "500"])
def test_a_library_with_a_runtime_of_its_own_is_named(tmp_path: Path, answer: str) -> None:
    """With what avoids it, where that is known; the CuTe DSL's is the one that engines meet."""
    (tmp_path / "own.c").write_text(OWN_RUNTIME)
    library = "libcute_dsl_runtime.so"
    build = ["cc", "-shared", "-fPIC", "-o", library, "own.c"]
    subprocess.run(build, cwd=tmp_path, check=True)
    args = ["--answer", answer] if answer != "200" else []
    write_workflow(tmp_path, *args, more=f'env = {{ LD_PRELOAD = "{tmp_path / library}" }}\n')
    done = call(tmp_path, *RUN, "--target", "h200x8")
    assert done.returncode == (0 if answer == "200" else 1), done.stderr
    said = done.stderr + done.stdout
    assert f"{library} has a CUDA runtime of its own inside" in said
    assert "FLASHINFER_USE_CUDA_NORM=1" in said and "another norm module" in said
    (trace,) = (tmp_path / "home" / "runs").glob("*/toy.trace")
    assert f"own-runtime {tmp_path / library}" in trace.read_text()


def test_a_target_comes_from_the_workflow_and_an_empty_flag_takes_it_away(tmp_path: Path) -> None:
    path = write_workflow(tmp_path)
    text = path.read_text().replace("[defaults]", '[defaults]\ntarget = "h200x2"', 1)
    path.write_text(text.replace("[defaults]", '[defaults]\ntarget_driver = "590.1"', 1))
    key = ("key", "--workflow", "workflow.toml")
    assert "assumed 590.1" in call(tmp_path, *key).stdout
    assert "assumed" not in call(tmp_path, *key, "--target", "").stdout
    asked = call(tmp_path, *key, WARMUP_CI_TARGET="b200")
    assert "NVIDIA B200" in asked.stdout

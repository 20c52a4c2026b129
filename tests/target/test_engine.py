"""The reference engine on the null device: every family, each way to start it, until READY.

Opt-in: `make test-target`, or `--target-python` with an interpreter that has torch==2.14.1 (CUDA
13), triton, sgl-deep-gemm and the extra `serve`. Nothing here has seen a GPU: what is held is that
the real host code runs, that the real compilers compile, and under which keys. All servers are
started by one `run`, two at a time; of a selection (`-k`), only those that it looks at.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.commands.program import ROOT, get_env
from tests.target.null_device import get_libraries
from warmup.engine.tiny.make import FAMILIES
from warmup.target.environment import DRIVER_FOLDER, make_environment
from warmup.target.profile import parse_target

pytestmark = [pytest.mark.target, pytest.mark.timeout(1500)]

TIMEOUT_S = 1200.0
CUDA_HOME = os.environ.get("CUDA_HOME", "/usr/local/cuda")
TARGET = "h200x2"


class Variant(NamedTuple):
    """args: of the server, besides. compiles: cache families that it must add to."""

    family: str
    args: tuple[str, ...] = ()
    tp: int = 1
    compiles: tuple[str, ...] = ("triton",)


_SERVED = [family for family in FAMILIES if family != "text"]  # that one is for other engines
VARIANTS = {
    **{family: Variant(family) for family in _SERVED},
    **{f"{family}-fp8": Variant(family, ("--fp8",)) for family in _SERVED},
    "sd3-compiled": Variant("sd3", ("--torch-compile",), compiles=("triton", "inductor")),
    "sd3-cfg": Variant("sd3", ("--enable-cfg-parallel",), tp=2),
    "qwen2.5-vl-tp": Variant("qwen2.5-vl", tp=2),
}
_MODEL = """
[[model]]
id = "./{name}"
tp = {tp}
fallback_args = {args}
env = {{ TRITON_CACHE_DIR = "{caches}/triton", TORCHINDUCTOR_CACHE_DIR = "{caches}/inductor", \
DG_JIT_CACHE_DIR = "{caches}/deep_gemm" }}
"""
MAKE = """
import sys
from warmup.engine.tiny.make import make_tiny
for family in sys.argv[2:]:
    make_tiny(family, f"{sys.argv[1]}/{family}")
"""


class Seeds(NamedTuple):
    """folder: with the workflow, the models, and their caches. models: of `run --json`, by name."""

    folder: Path
    models: dict[str, dict[str, Any]]


def call_slow(folder: Path, *args: str) -> dict[str, Any]:
    """The document of `warmup-ci ARGS --json`, whose servers compile for minutes."""
    done = subprocess.run(
        [sys.executable, "-m", "warmup", *args, "--json"],
        cwd=folder,
        env=get_env(folder, CUDA_HOME=CUDA_HOME, TRITON_LIBCUDA_PATH=DRIVER_FOLDER),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert "models" in document, document
    return document


@pytest.fixture(scope="module")
def seeds(
    request: pytest.FixtureRequest, python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Seeds:
    """Tiny checkpoints of what the selected tests look at, seeded for a target."""
    folder = tmp_path_factory.mktemp("seeds")
    asked = set()
    for item in request.session.items:
        asked |= {mark.args[0] for mark in item.iter_markers("seeds")}
        if (callspec := getattr(item, "callspec", None)) is not None:
            asked |= {callspec.params.get("name")}
    variants = {name: each for name, each in VARIANTS.items() if name in asked}
    families = {each.family for each in variants.values()}
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    make = [str(python), "-c", MAKE, str(folder / "tiny"), *sorted(families)]
    subprocess.run(make, env=env, check=True, timeout=300, capture_output=True)
    text = f'schema = 1\n[defaults]\npython = "{python}"\nstart_timeout_s = 600\n'
    for name, each in variants.items():
        shutil.copytree(folder / "tiny" / each.family, folder / name)
        caches, args = folder / "caches" / name, json.dumps(each.args)
        text += _MODEL.format(name=name, tp=each.tp, args=args, caches=caches)
    (folder / "workflow.toml").write_text(text)
    shutil.copytree(get_libraries(), folder / "home" / "target" / get_libraries().name)
    command = ("run", "--workflow", "workflow.toml", "--target", TARGET, "--jobs", "2")
    document = call_slow(folder, *command)
    return Seeds(folder, {each["model"].rpartition("/")[2]: each for each in document["models"]})


@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_ready_and_compiled(name: str, seeds: Seeds) -> None:
    variant, model = VARIANTS[name], seeds.models[name]
    log = Path(model["log"]).read_text() if model["log"] else ""
    assert model["state"] == "seeded", f"{model['reason']}\n{log[-4000:]}"
    assert "degraded" not in log, log[-4000:]
    for family in variant.compiles:
        assert model["new_entries"][family] > 0, model["new_entries"]
    caches = seeds.folder / "caches" / name
    assert list(caches.rglob("*.cubin"))
    assert not [*caches.rglob("*.best_config"), *caches.rglob("*.autotune.json")]


@pytest.mark.seeds("qwen2.5-vl")
def test_the_seed_of_dummy_weights_is_all_that_the_real_launch_needs(
    python: Path, seeds: Seeds
) -> None:
    """The null device again in the place of the GPU: what is shown is that checkpoint and dummy
    weights have the same keys, and that `run` finds the seed complete."""
    folder = seeds.folder
    base = get_env(folder, CUDA_HOME=CUDA_HOME, TRITON_LIBCUDA_PATH=DRIVER_FOLDER)
    overlay = make_environment(parse_target(TARGET), base, folder / "home" / "target", folder)
    program = (
        "import pathlib; from warmup.state import gpus; "
        "gpus._DEVICE_FILES = (pathlib.Path('/dev/null'),); "
        "from warmup.cli import main; main()"
    )
    named = ("--workflow", "workflow.toml", "--models", "./qwen2.5-vl", "--json")
    done = subprocess.run(
        [str(python), "-c", program, "run", *named],
        cwd=folder,
        env={**base, **overlay},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    (model,) = json.loads(done.stdout)["models"]
    assert (model["state"], model["seed_missed"]) == ("warmed", []), done.stderr
    assert model["proven"] and not any(model["new_entries"].values())


@pytest.mark.seeds("qwen2.5-vl")
def test_a_model_that_does_not_fit_is_out_of_memory_as_there(python: Path, seeds: Seeds) -> None:
    """The tiny model with an MLP that no H100 holds: its config alone is large."""
    folder = seeds.folder / "large"
    shutil.copytree(seeds.folder / "tiny" / "qwen2.5-vl", folder)
    config = json.loads((folder / "config.json").read_text())
    for part in (config, config.get("text_config", {})):
        if "num_hidden_layers" in part:
            part["intermediate_size"] = 1 << 28
    (folder / "config.json").write_text(json.dumps(config))
    command = ("run", "--models", str(folder), "--python", str(python), "--target", "h100")
    document = call_slow(seeds.folder, *command)
    (model,) = document["models"]
    assert document["exit_code"] == 1 and "out of memory" in model["reason"].lower(), model


def test_what_needs_a_gpu_runs_as_far_as_it_reads_no_result(tmp_path: Path, python: Path) -> None:
    """Among them: Triton kernels launched the ordinary way have the keys that
    `kernels compile --target` foretold."""
    base = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_HOME": CUDA_HOME}
    state = get_libraries().parent
    env = {**base, **make_environment(parse_target("h200x1"), base, state, tmp_path)}
    command = [str(python), "-m", "pytest", "tests/gpu", "--gpu", "-q", "--timeout=400"]
    done = subprocess.run(
        [*command, "-m", "not reads_driver", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    found = re.search(r"(\d+) passed, (\d+) deselected", done.stdout)
    assert found is not None and "skipped" not in found.string, done.stdout[-2000:]
    passed, deselected = int(found[1]), int(found[2])
    print(f"tests/gpu on the null device: {passed} of {passed + deselected} run")
    assert passed >= 40 and deselected <= 3

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from warmup.caches.family_table import get_family
from warmup.caches.hazards.rule import Facts, Scope
from warmup.caches.hazards.triton_group import DANGLING, check, repair
from warmup.caches.walk import walk_root
from warmup.kernels.pool import CompilePool, WorkerSpec
from warmup.kernels.target import HANDLER, check_target, get_worker_env, list_jobs
from warmup.launch.launch import Launch
from warmup.words.errors import UsageError, WarmupError

ROOT = Path(__file__).parents[2]
# What the engine itself does on a GPU, up to the launch: the wrappers, compiling directly.
DIRECTLY = """
import json, sys
from triton.backends.compiler import GPUTarget
from triton.compiler import compiler
from warmup.engine.kernels import aot
from warmup.engine.kernels.launch import compile_only

built, make_ir = [], compiler.ASTSource.make_ir

def note(source, *args, **kwargs):
    built.append(source.name)
    return make_ir(source, *args, **kwargs)

compiler.ASTSource.make_ir = note
with compile_only(GPUTarget("cuda", 90, 32)) as found:
    aot._launch_diffusion(sys.argv[1], True)
hashes = sorted(each for hashes in found.hashes.values() for each in hashes)
print(json.dumps({"hashes": hashes, "built": built}))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "flux2"
    command = [sys.executable, "-m", "warmup.engine.serve", "--make-tiny", "flux2", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120, capture_output=True)
    return folder


def run_directly(model: Path, cache: Path, cwd: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", DIRECTLY, str(model)],
        cwd=cwd,
        env=get_worker_env(os.environ, cache),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def make_launch(model: Path) -> Launch:
    return Launch(model=str(model), tp=1, engine="reference", python=sys.executable)


def make_pool(folder: Path, cache: Path) -> CompilePool:
    return CompilePool(
        [WorkerSpec(python=sys.executable, handler=HANDLER, args=("cuda:90",))] * 2,
        env=get_worker_env(os.environ, cache),
        cwd=folder,
        log=folder / "log",
    )


@pytest.mark.slow
def test_what_is_compiled_here_is_what_the_engine_looks_up(tmp_path: Path, model: Path) -> None:
    """Also from another folder, once the groups of the moved cache are repaired."""
    cache, moved = tmp_path / "cache", tmp_path / "elsewhere" / "moved"
    with make_pool(tmp_path, cache) as pool:
        jobs = list_jobs([make_launch(model)], pool, fp8=True)
        outcomes = pool.run(jobs)
    assert [each.error for each in outcomes] == [None] * len(jobs)
    assert len(jobs) == 3
    check_nothing_of_this_host(cache)
    shutil.copytree(cache, moved)
    shutil.rmtree(cache)
    assert repair_groups(moved) == len(jobs)
    found = run_directly(model, moved, tmp_path / "elsewhere")
    assert found["built"] == []
    assert found["hashes"] == sorted(each.answer["hash"] for each in outcomes)


def repair_groups(cache: Path) -> int:
    """As `warmup-ci audit --fix` does; how many groups named files elsewhere."""
    family = get_family("triton")
    with closing(Scope(family, walk_root(family, cache), Facts(env={}))) as scope:
        findings = [each for each in check(scope) if each.rule == DANGLING.id]
    for each in findings:
        repair(each)
    return len(findings)


def check_nothing_of_this_host(cache: Path) -> None:
    """No launcher and no driver stub, which a host's own C compiler would make; and nothing that
    tells where this checkout is."""
    suffixes = {path.suffix for path in cache.rglob("*") if path.is_file()}
    assert ".cubin" in suffixes
    assert not suffixes & {".so", ".o", ".c"}
    for path in cache.rglob("*"):
        assert not path.is_file() or str(ROOT / "warmup").encode() not in path.read_bytes()


def test_a_folder_that_the_engine_does_not_serve(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with (
        make_pool(tmp_path, tmp_path / "cache") as pool,
        pytest.raises(WarmupError, match="its kernels cannot be listed") as caught,
    ):
        list_jobs([make_launch(tmp_path)], pool, fp8=False)
    assert "LlamaForCausalLM" in (caught.value.cause or "")


@pytest.mark.parametrize("target", ["", "cuda", "cuda:", "cuda:9", "cuda:900", "rocm:942", "90"])
def test_a_target_that_is_none(target: str) -> None:
    with pytest.raises(UsageError, match="no target is called"):
        check_target(target)


def test_an_h200_is_a_target() -> None:
    check_target("cuda:90")

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.state.helpers import make_vector
from warmup.state.version_vector import Change, Ingredient, VersionVector, read_vector
from warmup.words.errors import UsageError
from warmup.words.names import FAMILY_NAMES

NAMED = (
    "python", "torch", "torch_cuda", "triton", "deep_gemm", "deep_gemm_include", "nvcc",
    "nvcc_path", "cuda_home", "driver", "gpu_name", "compute_capability", "sm_count",
    "flashinfer", "tilelang", "nvidia-cutlass-dsl", "quack-kernels", "apache-tvm-ffi",
)  # fmt: skip


def read(**changes: object) -> dict[str, str]:
    return {each.name: each.value for each in get_vector(**changes).ingredients}


def get_vector(**changes: object) -> VersionVector:
    arguments: dict[str, object] = {
        "python": "",
        "env": {"PATH": os.environ["PATH"], "HOME": "/h"},
        "engines": ("transformers",),
        "source_paths": (),
        "repo_dir": Path(__file__).parent,
    }
    return read_vector(**{**arguments, **changes})  # type: ignore[arg-type]


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment of its own, with the metadata of packages but not their code."""
    venv = tmp_path / "venv"
    command = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
    subprocess.run(command, check=True, timeout=60)
    return venv


def install(venv: Path, name: str, *files: str) -> Path:
    [site] = venv.glob("lib/python*/site-packages")
    (site / f"{name}.dist-info").mkdir()
    for file in files:
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text("")
    return site


def test_this_hosts_vector_agrees_with_the_packages() -> None:
    """Asked of torch itself, in another process: nothing here may import it."""
    code = "import json, torch, triton; v = torch.version; print(json.dumps([v.__version__, v.cuda,"
    code += " v.git_version, triton.__version__]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120)
    if done.returncode != 0:
        pytest.skip("torch or triton is not installed here")
    version, cuda, git, triton = json.loads(done.stdout)
    values = read()
    assert values["torch"] == version
    assert values["torch_cuda"] == (cuda or "none")
    assert values["torch_git"] == git
    assert values["triton"] == triton
    assert values["python"] == sys.version.split()[0]
    assert values["engine:transformers"] != "none"


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import os, sys; from pathlib import Path;"
        "from warmup.state.version_vector import read_vector;"
        "read_vector(python='', env=os.environ, engines=['vllm'], source_paths=[],"
        " repo_dir=Path('.'));"
        "heavy = ('torch', 'triton', 'requests', 'rich', 'pydantic', 'importlib.metadata');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_every_named_ingredient_is_there_and_names_families() -> None:
    vector = get_vector(engines=("sglang", "vllm"), source_paths=("warmup/state",))
    by_name = {each.name: each for each in vector.ingredients}
    assert set(NAMED) <= set(by_name)
    assert {"engine:sglang", "engine:vllm", "source:warmup/state"} <= set(by_name)
    assert all(each.families for each in vector.ingredients)
    assert {family for each in vector.ingredients for family in each.families} == set(FAMILY_NAMES)


def test_another_interpreter_is_asked(venv: Path) -> None:
    install(venv, "torch-2.9.1+cu129")
    install(venv, "sglang-0.5.3")
    values = read(python=str(venv / "bin" / "python"), engines=("sglang",))
    assert values["torch"] == "2.9.1+cu129"
    assert values["torch_cuda"] == "none"
    assert values["engine:sglang"] == "0.5.3"


def test_torchs_own_word_counts_more_than_its_metadata(venv: Path) -> None:
    site = install(venv, "torch-2.9.1", "torch/__init__.py")
    (site / "torch" / "version.py").write_text(
        "__version__ = '2.9.1+cu129'\nfrom typing import Optional\n"
        "cuda: Optional[str] = '12.9'\ngit_version = 'abc'\n"
    )
    values = read(python=str(venv / "bin" / "python"))
    assert (values["torch"], values["torch_cuda"], values["torch_git"]) == (
        "2.9.1+cu129", "12.9", "abc",
    )  # fmt: skip


def test_deep_gemm_is_its_distribution_and_where_it_lies(venv: Path) -> None:
    site = install(venv, "sgl_deep_gemm-0.2.5", "deep_gemm/__init__.py")
    install(venv, "vllm-0.11", "vllm/third_party/deep_gemm/__init__.py")
    values = read(python=str(venv / "bin" / "python"))
    assert values["deep_gemm"] == "sgl-deep-gemm 0.2.5"
    assert values["deep_gemm_include"] == (
        f"{site}/deep_gemm/include, {site}/vllm/third_party/deep_gemm/include"
    )


def test_a_moved_environment_is_another_one(venv: Path, tmp_path: Path) -> None:
    install(venv, "sgl_deep_gemm-0.2.5", "deep_gemm/__init__.py")
    before = get_vector(python=str(venv / "bin" / "python"))
    venv.rename(tmp_path / "moved")
    after = get_vector(python=str(tmp_path / "moved" / "bin" / "python"))
    assert [change.name for change in before.diff(after)] == ["deep_gemm_include"]


def test_the_environment_that_matters_counts() -> None:
    base = get_vector()
    env = {"PATH": os.environ["PATH"], "HOME": "/other"}
    assert get_vector(env=env).key == base.key
    changed = get_vector(env={**env, "TRITON_F32_DEFAULT": "ieee", "HF_TOKEN": "hf_x"})
    assert base.diff(changed) == [
        Change("env:TRITON_F32_DEFAULT", None, "ieee", ("inductor", "triton", "vllm"))
    ]
    odd = get_vector(env={**env, "DG_X": b"\xff".decode("utf-8", "surrogateescape")})
    assert odd.key != base.key


def test_a_source_path_counts() -> None:
    values = read(source_paths=("warmup/caches",))
    assert len(values["source:warmup/caches"].partition("+")[0]) in (40, 64)
    with pytest.raises(UsageError, match="no/such/path"):
        read(source_paths=("no/such/path",))


def test_a_missing_interpreter_is_named() -> None:
    with pytest.raises(UsageError, match="/nowhere/python"):
        read(python="/nowhere/python")


VALUES = st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=5)


def make(values: dict[str, str]) -> VersionVector:
    return VersionVector(tuple(Ingredient(name, text) for name, text in values.items()))


@given(VALUES, VALUES)
def test_keys_differ_exactly_where_values_do(one: dict[str, str], other: dict[str, str]) -> None:
    changes = make(one).diff(make(other))
    assert (make(one).key == make(other).key) == (one == other) == (not changes)
    assert {change.name for change in changes} == {
        name for name in one.keys() | other.keys() if one.get(name) != other.get(name)
    }


def test_the_order_is_not_in_the_key() -> None:
    assert make({"a": "1", "b": "2"}).key == make({"b": "2", "a": "1"}).key


def test_changes_read_old_to_new() -> None:
    changes = make_vector(gone="1").diff(make_vector(triton="4.0", fresh="2"))
    assert [str(change) for change in changes] == [
        "triton 3.9.0 → 4.0", "fresh none → 2", "gone 1 → none",
    ]  # fmt: skip
    assert changes[0].families == ("inductor", "triton", "vllm")


def test_a_name_twice_is_our_bug() -> None:
    with pytest.raises(ValueError, match="one name"):
        VersionVector((Ingredient("a", "1"), Ingredient("a", "2")))

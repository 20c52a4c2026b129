"""What an ingredient touches follows from the families' and engines' own files, and from nothing
else. Until then three tables had copies of it, and they disagreed (review, bug 7)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from warmup.caches.family_table import list_families
from warmup.launch.engine_table import get_engine
from warmup.state.relevant_env import find_touched
from warmup.words.names import ENGINE_NAMES, FAMILY_NAMES


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_an_engines_version_touches_all_that_it_fills(name: str) -> None:
    """sglang's lacked flashinfer, quack, torch_extensions and cuda_driver."""
    engine = get_engine(name)
    if engine.distribution is not None:
        assert set(engine.families) <= set(find_touched(f"engine:{engine.distribution}"))


@pytest.mark.parametrize("family", ["flashinfer", "quack", "torch_extensions", "cuda_driver"])
def test_a_new_sglang_touches_what_one_copy_had_forgotten(family: str) -> None:
    assert family in find_touched("engine:sglang")
    assert family in find_touched("env:SGLANG_ENABLE_X")


def test_an_engine_that_nobody_knows_may_touch_all() -> None:
    assert find_touched("engine:my-server") == FAMILY_NAMES


@pytest.mark.parametrize("family", list_families(), ids=lambda family: family.name)
def test_a_family_is_touched_by_all_that_its_file_names(family: object) -> None:
    from warmup.caches.family import Family

    assert isinstance(family, Family)
    for ingredient in family.ingredients:
        assert family.name in find_touched(ingredient if ingredient != "source" else "source:src")
    for name in family.env_names:
        assert family.name in find_touched("env:" + name.replace("*", "X"))


def test_what_only_prints_or_hides_touches_nothing() -> None:
    for name in ("HOME", "SGLANG_PORT", "TORCH_LOGS", "VLLM_API_KEY", "DG_JIT_CACHE_DIR"):
        assert find_touched(f"env:{name}") == ()
    assert find_touched("no such ingredient") == ()


def test_reading_a_vector_imports_no_engine() -> None:
    code = (
        "import os, sys; from pathlib import Path;"
        "from warmup.state.version_vector import read_vector;"
        "read_vector(python='', env=os.environ, engines=['vllm'], source_paths=[],"
        " repo_dir=Path('.')).key;"
        "print([name for name in sys.modules if name.startswith('warmup.launch.engines.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.helpers import make_folder, make_launch, make_pipeline, make_qwen_vl
from warmup.launch.engine import Engine
from warmup.launch.engine_table import find_engines_for, get_engine
from warmup.words.errors import UsageError
from warmup.words.names import ENGINE_NAMES, FAMILY_NAMES


def test_the_names_are_those_of_the_workflow_schema() -> None:
    assert set(ENGINE_NAMES) == {
        "reference",
        "sglang",
        "sglang-diffusion",
        "vllm",
        "transformers",
        "command",
    }


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_each_name_finds_its_engine(name: str) -> None:
    engine: Engine = get_engine(name)
    assert engine.name == name
    assert engine.families
    assert len(set(engine.families)) == len(engine.families)
    assert set(engine.families) <= set(FAMILY_NAMES)


def test_any_family_may_be_filled_by_any_command() -> None:
    assert set(get_engine("command").families) == set(FAMILY_NAMES)


@pytest.mark.parametrize(
    ("name", "says"), [("sglan", "did you mean sglang?"), ("VLLM", "did you mean vllm?")]
)
def test_an_unknown_engine_names_a_close_one_and_all(name: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        get_engine(name)
    assert says in str(caught.value.hint)
    assert all(known in str(caught.value.hint) for known in ENGINE_NAMES)


def test_an_engine_that_is_not_asked_for_is_not_imported() -> None:
    script = (
        "import sys; from warmup.launch.engine_table import get_engine; get_engine('command');"
        "print([m for m in sys.modules if m in"
        " ('warmup.launch.engines.sglang', 'warmup.launch.engines.reference',"
        " 'torch', 'requests')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def find_for(model: str) -> tuple[str, ...]:
    return find_engines_for(make_launch("command", model))


def test_engines_that_might_serve_a_folder(tmp_path: Path) -> None:
    text = make_folder(tmp_path / "text", config={"architectures": ["LlamaForCausalLM"]})
    assert find_for(str(text)) == ("transformers", "sglang", "vllm")
    assert find_for(str(make_qwen_vl(tmp_path / "vl")))[0] == "reference"
    known = make_pipeline(tmp_path / "sd3", "StableDiffusion3Pipeline")
    assert find_for(str(known)) == ("reference", "sglang-diffusion")
    unknown = make_pipeline(tmp_path / "new", "BrandNewPipeline")
    assert find_for(str(unknown)) == ("sglang-diffusion",)
    assert find_for(str(make_folder(tmp_path / "empty"))) == ()
    assert "reference" not in find_for("org/name")

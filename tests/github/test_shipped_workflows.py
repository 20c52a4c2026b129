"""The workflow files that this repository ships: what they list, and that it fits their budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drift.recorded import read_facts
from tests.github.actions_yaml import ROOT
from warmup.drift.compare import judge
from warmup.launch.launch import Launch
from warmup.workflow.file import Workflow, get_workflow
from warmup.workflow.resolve import Sources, resolve

FILES = sorted((ROOT / "workflows").glob("*.toml"))
DP8 = ("--dp", "8", "--enable-dp-attention")
FLASH = ("--dp", "2", "--enable-dp-attention", "--attention-backend", "fa3")


def get_launches(path: Path) -> tuple[Workflow, tuple[Launch, ...]]:
    workflow = get_workflow(path)
    return workflow, resolve((), Sources(workflow=workflow, cwd=Path("/")))


def test_the_h200_runner_has_five_models() -> None:
    _, launches = get_launches(ROOT / "workflows" / "h200-8gpu.toml")
    assert {launch.name: launch.fallback_args for launch in launches} == {
        "deepseek-ai/DeepSeek-V3-0324:8": (),
        "deepseek-ai/DeepSeek-V3.2:8": DP8,
        "zai-org/GLM-5-FP8:8": DP8,
        "XiaomiMiMo/MiMo-V2-Flash:4": FLASH,
        "XiaomiMiMo/MiMo-V2.5:8": (
            *FLASH,
            *("--mm-enable-dp-encoder", "--mm-attention-backend", "fa3"),
        ),
    }
    assert {launch.engine for launch in launches} == {"sglang"}


def test_the_demo_finds_its_models_wherever_it_is_called_from() -> None:
    _, launches = get_launches(ROOT / "workflows" / "cpu-demo.toml")
    assert [(launch.engine, Path(launch.model).resolve()) for launch in launches] == [
        ("transformers", ROOT / ".demo" / "tiny-text"),
        ("reference", ROOT / ".demo" / "tiny-sd3"),
        ("reference", ROOT / ".demo" / "tiny-qwen2.5-vl"),
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_all_models_at_their_limits_stay_inside_the_deadline(path: Path) -> None:
    workflow, launches = get_launches(path)
    total = sum(
        launch.start_timeout_s + launch.request_timeout_s + launch.stop_grace_s
        for launch in launches
    )
    assert isinstance(workflow.defaults.deadline_s, float)
    assert total <= workflow.defaults.deadline_s


@pytest.mark.parametrize(
    ("name", "suite", "elsewhere"),
    [
        ("b200-4gpu", "base-c-test-4-gpu-b200", {"Qwen/Qwen3-Next-80B-A3B-Instruct:4"}),
        ("h100-4gpu", "base-c-test-4-gpu-h100", set()),
    ],
)
def test_every_model_is_launched_as_a_recorded_test_launches_it(
    name: str, suite: str, elsewhere: set[str]
) -> None:
    """But for the option that 0.5.22 renamed. elsewhere: of no test that is recorded."""
    _, launches = get_launches(ROOT / "workflows" / f"{name}.toml")
    facts = read_facts(suite, "warmed", "launches")
    found = set()
    for drift in judge(facts, launches).drifts:
        sides = (drift.missing_in_workflow, drift.missing_in_tests)
        if not drift.is_unlisted and all(map(_is_only_renamed, sides)):
            found.add(f"{drift.model}:{drift.tp}")
    same = {(each.file, each.line) for each in facts.launches} - {
        (drift.file, drift.line) for drift in judge(facts, launches).drifts
    }
    models = {each.model for each in facts.launches if (each.file, each.line) in same}
    found |= {launch.name for launch in launches if launch.label in models}
    assert {launch.name for launch in launches} - found == elsewhere


def _is_only_renamed(options: tuple[str, ...]) -> bool:
    renamed = ("--mamba-scheduler-strategy ", "--mamba-radix-cache-strategy ")
    return all(option.startswith(renamed) for option in options)

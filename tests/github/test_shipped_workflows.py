"""The workflow files that this repository ships: what they list, and that it fits their budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.github.actions_yaml import ROOT
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

"""A CI's own workflow files, held against ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.program import call, call_json
from warmup.drift.ci_files import find_warmed
from warmup.drift.scan import find_launches
from warmup.words.errors import UsageError

ROOT = Path(__file__).parents[2]
# sglang's 8-gpu-h200 stage in the newest text of autumn 2026 that was read.
H200 = (
    "deepseek-ai/DeepSeek-V3-0324:8 deepseek-ai/DeepSeek-V3.2:8 zai-org/GLM-5-FP8:8"
    " XiaomiMiMo/MiMo-V2-Flash:4 XiaomiMiMo/MiMo-V2.5:8"
)
STAGE = """
on: push
jobs:
  stage-c-test-8-gpu-h200:
    uses: ./.github/workflows/_pr-test-stage.yml
    with:
      runner: 8-gpu-h200
      warmup_deep_gemm_models: {models}
      warmup_timeout_minutes: 60
"""


def write(folder: Path, models: str) -> Path:
    path = folder / "pr-test.yml"
    path.write_text(STAGE.format(models=models))
    return path


@pytest.mark.parametrize(
    "value",
    [
        "a/b:8 c:4",
        '"a/b:8 c:4"  # cold 13 min',
        "'a/b:8 c:4'",
        ">-\n        a/b:8\n\n        c:4",
        "|\n        a/b:8 c:4",
    ],
)
def test_every_way_to_write_the_list_is_read(tmp_path: Path, value: str) -> None:
    found = list(find_warmed(write(tmp_path, value).read_text()))
    assert [(model, tp) for _, model, tp in found] == [("a/b", 8), ("c", 4)]


def test_declarations_and_expressions_name_no_models() -> None:
    text = (
        "on:\n  workflow_call:\n    inputs:\n      warmup_server_models:\n"
        "        type: string\n        default: ''\njobs:\n  x:\n    with:\n"
        "      warmup_server_models: ${{ inputs.warmup_server_models }}\n"
    )
    assert list(find_warmed(text)) == []


def test_our_workflow_is_what_sglangs_stage_warms(tmp_path: Path) -> None:
    workflow = str(ROOT / "workflows" / "h200-8gpu.toml")
    done = call_json(tmp_path, "drift", str(write(tmp_path, H200)), "--workflow", workflow)
    assert (done["exit_code"], done["compared"], done["drifts"]) == (0, 5, [])


def test_another_size_and_a_model_that_nobody_warms_are_told(tmp_path: Path) -> None:
    models = H200.replace("Flash:4", "Flash:8") + " lmsys/sglang-ci-dsv3-test:4"
    workflow = str(ROOT / "workflows" / "h200-8gpu.toml")
    done = call(tmp_path, "drift", str(write(tmp_path, models)), "--workflow", workflow)
    assert done.returncode == 1
    assert "XiaomiMiMo/MiMo-V2-Flash:8\n            only the tests:   --tp-size 8" in done.stdout
    assert "only the warm-up: --tp-size 4" in done.stdout
    assert "unlisted    " in done.stdout and "lmsys/sglang-ci-dsv3-test:4" in done.stdout
    assert "6 launches found: 1 drifted, 1 unlisted" in done.stdout


def test_a_yaml_that_is_no_workflow(tmp_path: Path) -> None:
    """Named, it is a mistake; in a folder of tests it is one of their files."""
    path = tmp_path / "data.yml"
    path.write_text("warmup: [1, 2]\n")
    with pytest.raises(UsageError, match="not a workflow") as raised:
        find_launches([path])
    assert raised.value.cause == "it has no `jobs:`"
    assert find_launches([tmp_path]).launches == ()

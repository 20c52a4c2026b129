"""A CI's own files, held against ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.program import call, call_json
from tests.drift.helpers import make_launch, scan
from tests.drift.recorded import read_facts
from warmup.drift.ci_files import find_warmed
from warmup.drift.compare import compare, judge
from warmup.drift.scan import find_launches
from warmup.launch.api import Launch
from warmup.words.errors import UsageError
from warmup.workflow.api import Selection, load

WORKFLOWS = Path(__file__).parents[2] / "workflows"
# sglang's 8-gpu-h200 stage in the newest text that was read.
H200 = (
    "deepseek-ai/DeepSeek-V3-0324:8 deepseek-ai/DeepSeek-V3.2:8 zai-org/GLM-5-FP8:8"
    " XiaomiMiMo/MiMo-V2-Flash:4 XiaomiMiMo/MiMo-V2.5:8"
)
STAGE = """
on: push
jobs:
  base-c-test-8-gpu-h200:
    uses: ./.github/workflows/_pr-test-stage.yml
    with:
      runner: 8-gpu-h200
      warmup_deep_gemm_models: {models}
      warmup_timeout_minutes: 60
"""
# As sglang's scripts/ci/cuda/warmup_deep_gemm.py writes it.
FALLBACK = """
from typing import Dict, List

FALLBACK_ARGS: Dict[str, List[str]] = {
    "org/dp": ["--dp", "8", "--enable-dp-attention"],
    "org/other": ["--attention-backend", "fa3"],
    "org/made": make_args(),
    **MORE,
}
"""
# As sglang's tests register themselves (python/sglang/test/ci/ci_register.py).
REGISTERED = """
register_cuda_ci(est_time=60, stage="base-c", runner_config="8-gpu-h200")
register_amd_ci(60, "stage-b-amd")
register_npu_ci(est_time=60, suite="off", disabled="flaky")

class TestIt:
    @classmethod
    def setUpClass(cls):
        cls.process = popen_launch_server("org/{name}", URL, other_args=["--tp", "8"])
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
    assert [(each.model, each.tp) for each in found] == [("a/b", 8), ("c", 4)]
    assert {each.job for each in found} == {"base-c-test-8-gpu-h200"}


def test_declarations_and_expressions_name_no_models() -> None:
    text = (
        "on:\n  workflow_call:\n    inputs:\n      warmup_server_models:\n"
        "        type: string\n        default: ''\njobs:\n  x:\n    with:\n"
        "      warmup_server_models: ${{ inputs.warmup_server_models }}\n"
    )
    assert list(find_warmed(text)) == []


def test_another_size_and_a_model_that_nobody_warms_are_told(tmp_path: Path) -> None:
    models = H200.replace("Flash:4", "Flash:8") + " lmsys/sglang-ci-dsv3-test:4"
    workflow = str(WORKFLOWS / "h200-8gpu.toml")
    done = call(tmp_path, "drift", str(write(tmp_path, models)), "--workflow", workflow)
    assert done.returncode == 1
    assert "XiaomiMiMo/MiMo-V2-Flash:8\n            only the tests:   --tp-size 8" in done.stdout
    assert "only the warm-up: --tp-size 4" in done.stdout
    assert "unlisted    " in done.stdout and "lmsys/sglang-ci-dsv3-test:4" in done.stdout
    assert "6 launches found: 1 drifted, 1 unlisted" in done.stdout


def test_a_dictionary_of_arguments_says_all_but_sizes(tmp_path: Path) -> None:
    found = scan(tmp_path, FALLBACK)
    launches = [
        make_launch("org/dp", 8, "--dp", "8", "--enable-dp-attention", trust=True),
        make_launch("org/other", 4, "--attention-backend", "triton", trust=True),
    ]
    assert [(each.model, each.says) for each in found] == [
        ("org/dp", "arguments"),
        ("org/other", "arguments"),
        ("org/made", "arguments"),
        (None, "arguments"),
    ]
    other, made, more = compare(found, launches)
    assert (other.tp, other.missing_in_workflow) == (None, ("--attention-backend fa3",))
    assert other.missing_in_tests == ("--attention-backend triton",)
    assert made.is_unlisted
    assert more.unresolved == "model: another dictionary's"


def test_suites_choose_what_is_compared(tmp_path: Path) -> None:
    for name in ("one", "two"):
        source = REGISTERED.replace("{name}", name)
        runner = "8-gpu-h200" if name == "one" else "4-gpu-h100"
        (tmp_path / f"test_{name}.py").write_text(source.replace("8-gpu-h200", runner))
    (tmp_path / "warmup.py").write_text(FALLBACK.replace("org/dp", "org/one"))
    write(tmp_path, "org/three:2")
    everything = find_launches([tmp_path])
    assert [each.suites for each in everything.launches if each.says == "all"] == [
        ("base-c-test-8-gpu-h200", "stage-b-amd"),
        ("base-c-test-4-gpu-h100", "stage-b-amd"),
    ]
    chosen = find_launches([tmp_path], ["*-8-gpu-h200"]).launches
    assert [(each.model, each.says) for each in chosen] == [
        ("org/three", "size"),
        ("org/one", "all"),
        ("org/one", "arguments"),
    ]
    assert find_launches([tmp_path], ["off"]).launches == ()


def test_who_else_warms_a_model_is_told(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"test_{name}.py").write_text(REGISTERED.replace("{name}", name))
    write(tmp_path, "org/one:8")
    args = ("drift", str(tmp_path), "--suite", "base-c-*", "--models", "org/three", "--engine")
    done = call(tmp_path, *args, "sglang")
    assert done.returncode == 1
    assert "org/one:8: the workflow does not warm this model, " in done.stdout
    assert f"{tmp_path}/pr-test.yml:8 does" in done.stdout
    assert "\nnobody warms org/two:8 (base-c-test-8-gpu-h200, stage-b-amd)" in done.stdout
    document = call_json(tmp_path, *args, "sglang")
    warmed_at = {
        each["model"]: each["warmed_at"] for each in document["drifts"] if each["warmed_at"]
    }
    assert warmed_at == {"org/one": f"{tmp_path}/pr-test.yml:8"}


def test_a_clean_suite_exits_0(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        REGISTERED.replace("{name}", "one").replace(
            '"8"]', '"8", "--reasoning-parser", "qwen3", "--enable-metrics"]'
        )
    )
    write(tmp_path, "org/one:8")
    workflow = tmp_path / "workflow.toml"
    workflow.write_text('schema = 1\n[[model]]\nid = "org/one"\ntp = 8\nengine = "sglang"\n')
    args = ("drift", str(tmp_path), "--suite", "*h200", "--workflow", str(workflow))
    done = call(tmp_path, *args)
    assert done.returncode == 0, done.stdout
    assert done.stdout == "2 launches found: 0 drifted, 0 unlisted, 0 unresolved\n"


def test_a_yaml_that_is_no_workflow(tmp_path: Path) -> None:
    """Named, it is a mistake; in a folder of tests it is one of their files."""
    path = tmp_path / "data.yml"
    path.write_text("warmup: [1, 2]\n")
    with pytest.raises(UsageError, match="not a workflow") as raised:
        find_launches([path])
    assert raised.value.cause == "it has no `jobs:`"
    assert find_launches([tmp_path]).launches == ()


def read_workflow(name: str) -> list[Launch]:
    path = WORKFLOWS / f"{name}.toml"
    return list(load(Selection(models=(), workflow=path), path.parent).launches)


@pytest.mark.parametrize(
    ("workflow", "suite", "num_warmed"),
    [
        ("h200-8gpu", "base-c-test-8-gpu-h200", 5),
        ("h100-4gpu", "base-c-test-4-gpu-h100", 2),
        ("b200-4gpu", "base-c-test-4-gpu-b200", 0),
    ],
)
def test_our_workflows_are_what_sglangs_ci_warms(
    workflow: str, suite: str, num_warmed: int
) -> None:
    """Models, sizes and arguments, as recorded; `h200-8gpu.toml` once said MiMo-V2-Flash:8."""
    warmed = read_facts(suite, "warmed").launches
    assert len(warmed) == num_warmed
    models = {each.model for each in warmed}
    arguments = [each for each in read_facts(suite, "arguments").launches if each.model in models]
    launches = read_workflow(workflow)
    assert compare([*warmed, *arguments], launches) == []


def test_what_sglangs_suites_launch_and_nobody_warms() -> None:
    """The facts that a record of its tests holds: a newer record may say otherwise."""
    suite = "base-c-test-8-gpu-h200"
    document = judge(read_facts(suite, "launches", "warmed"), read_workflow("h200-8gpu"))
    unwarmed = {(each.model, each.tp) for each in document.drifts if each.is_unlisted}
    assert unwarmed == {
        ("deepseek-ai/DeepSeek-V4-Flash", 4),
        ("deepseek-ai/DeepSeek-V4-Flash", 8),
        ("MiniMaxAI/MiniMax-M2.5", 8),
        ("zai-org/GLM-5.2-FP8", 8),
    }
    assert {each.warmed_at for each in document.drifts} == {""}
    (drift,) = [each for each in document.drifts if not each.is_unlisted]
    assert (drift.model, drift.tp, drift.suites) == ("XiaomiMiMo/MiMo-V2.5", 8, (suite,))
    assert "--speculative-algorithm EAGLE" in drift.missing_in_workflow
    assert drift.missing_in_tests == ()

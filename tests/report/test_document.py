from __future__ import annotations

import json

from tests.report.helpers import make_result
from warmup.report.document import RunDocument


def test_document_has_the_contracts_names_and_shapes() -> None:
    result = make_result(
        "deepseek-ai/DeepSeek-V3.2",
        tp=8,
        phases={"spawn": 0.1, "ready": 40.0},
        new_entries={"deep_gemm": 41},
        argv=("python", "-m", "sglang"),
    )
    document = RunDocument(run_id="r", exit_code=0, version_key="k", models=(result,))

    assert json.loads(document.encode()) == {
        "schema": 1,
        "run_id": "r",
        "exit_code": 0,
        "version_key": "k",
        "models": [
            {
                "model": "deepseek-ai/DeepSeek-V3.2",
                "tp": 8,
                "engine": "command",
                "state": "warmed",
                "reason": "no marker",
                "seconds": 41.23,
                "phases": {"spawn": 0.1, "ready": 40.0},
                "failed_phase": None,
                "new_entries": {"deep_gemm": 41},
                "proven": False,
                "marker": None,
                "log": None,
                "argv": ["python", "-m", "sglang"],
                "survivors": [],
                "target": "",
                "left_out": [],
                "seed_missed": [],
                "steps": [],
            }
        ],
    }


def test_document_is_one_line_and_survives_names_that_are_no_utf8() -> None:
    result = make_result("/models/caf\udce9", reason="two\nlines", argv=("模型",))
    text = RunDocument(run_id="r", exit_code=1, version_key="k", models=(result,)).encode()

    assert "\n" not in text
    text.encode("utf-8")
    assert json.loads(text)["models"][0]["model"] == "/models/caf\udce9"
    assert json.loads(text)["models"][0]["argv"] == ["模型"]


def test_only_warm_and_warmed_count_as_warm() -> None:
    states = ("warm", "warmed", "seeded", "failed", "skipped", "cold")
    assert [s for s in states if make_result(state=s).is_warm] == ["warm", "warmed"]
    assert make_result(state="seeded").is_success and not make_result(state="cold").is_success
    assert make_result("a/b", tp=4).name == "a/b:4"

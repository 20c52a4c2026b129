"""bf16, a GPU's default dtype, behind HTTP on a CPU: READY is not enough, it must answer."""

from pathlib import Path

import pytest

from tests.engine.vlm.server import make_content, serve
from warmup.engine.tiny import qwen2_5_vl, qwen2_vl

SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("family", "tp"),
    [
        pytest.param(qwen2_5_vl, "2", id="qwen2.5-vl-2"),
        pytest.param(qwen2_vl, "1", id="qwen2-vl-1"),
        pytest.param(qwen2_5_vl, "1", id="qwen2.5-vl-1", marks=SLOW),
        pytest.param(qwen2_vl, "2", id="qwen2-vl-2", marks=SLOW),
    ],
)
def test_it_warms_whole_and_answers(family: object, tp: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    family.make(model)  # type: ignore[attr-defined]
    with serve(model, tmp_path, "--dtype", "bfloat16", "--tp", tp) as server:
        facts = server.get("/model_info").json()
        assert (facts["dtype"], facts["tp"]) == ("bfloat16", int(tp))
        assert server.get("/server_info").json()["warmup"]["failures"] == []
        for content in ("words alone", make_content(1)):
            answer = server.chat(content, max_tokens=6, ignore_eos=True)
            assert answer.status_code == 200, answer.text
            assert answer.json()["usage"]["completion_tokens"] == 6

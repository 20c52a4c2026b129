"""bf16, a GPU's default dtype, behind HTTP on a CPU: READY is not enough, it must answer."""

from pathlib import Path

import pytest

from tests.engine.vlm.server import make_content, serve
from warmup.engine.tiny import qwen2_5_vl, qwen2_vl


@pytest.mark.parametrize("tp", ["1", "2"])
@pytest.mark.parametrize("family", [qwen2_5_vl, qwen2_vl], ids=["qwen2.5-vl", "qwen2-vl"])
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

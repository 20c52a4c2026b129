"""What a run does beside a server that not even SIGKILL ends (issue 10, point 3)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.commands.program import TOY, call, call_json, write_workflow
from tests.supervise.freezer import make_freezer

_SECOND = """
[[model]]
id = "second"
command = ["{python}", "{toy}", "--port", "{{port}}"]
health_path = "/health"
request = {{ path = "/generate", json = {{ prompt = "warmup" }}, expect_text = "warmed" }}
"""


@pytest.mark.slow
def test_no_model_starts_beside_survivors_and_all_outputs_name_them(tmp_path: Path) -> None:
    with make_freezer() as freezer:
        second = _SECOND.format(python=sys.executable, toy=TOY)
        write_workflow(tmp_path, "--freeze-on-term", str(freezer), more=second)
        document = call_json(tmp_path, "run", "--workflow", "workflow.toml")
        first, second_model = document["models"]
        (survivor,) = first["survivors"]
        assert survivor.endswith("state D")
        assert first["state"] == "failed"
        assert survivor in first["reason"]
        assert second_model["state"] == "skipped"
        assert survivor in second_model["reason"]
        assert document["exit_code"] == 1
    done = call(tmp_path, "reap")
    assert "could not end" not in done.stdout
    assert done.returncode == 0

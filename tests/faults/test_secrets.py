"""Secrets on ways other than the log's tail."""

import json
from pathlib import Path

from tests.commands.program import call, write_workflow

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz012345"


def test_a_secret_in_a_wrong_answer_is_not_shown(tmp_path: Path) -> None:
    write_workflow(tmp_path, "--answer", "500", "--body", " for $HF_TOKEN")
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--json", HF_TOKEN=TOKEN)
    (model,) = json.loads(done.stdout)["models"]
    assert "warmed up for ***" in model["reason"]
    assert "warmed up for ***" in done.stderr
    assert TOKEN not in done.stdout + done.stderr

"""Workflows of toy servers that meet each other, for `run --jobs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.commands.program import TOY, call_json

HEAD = """
schema = 1
[defaults]
engine = "command"
start_timeout_s = 40
stop_grace_s = 2
"""
# Says who it is and which GPUs it has, meets whom it is to meet, and then serves.
SERVER = """
[[model]]
id = "{name}"
tp = {tp}
command = ["sh", "-c", '''{before}
echo "$$ ${{CUDA_VISIBLE_DEVICES-none}}" > {name}.tmp && mv {name}.tmp ../../../../{name}.up
for other in {meets}; do while [ ! -e ../../../../$other.up ]; do sleep 0.02; done; done
exec "{python}" "{toy}" --port {{port}} --kernel {name} {args}''']
health_path = "/health"
request = {{ path = "/generate", json = {{}} }}
"""


def write(folder: Path, *models: str) -> None:
    (folder / "workflow.toml").write_text(HEAD + "".join(models))


def server(name: str, meets: str = "", *args: str, tp: int = 1, before: str = "") -> str:
    """meets: servers that have to be up at the same time."""
    return SERVER.format(
        name=name,
        tp=tp,
        meets=meets,
        args=" ".join(args),
        before=before,
        python=sys.executable,
        toy=TOY,
    )


def run_jobs(folder: Path, jobs: str, *args: str, **env: str) -> dict[str, dict[str, Any]]:
    """The models of the document, by name."""
    document = call_json(folder, "run", "--workflow", "workflow.toml", "--jobs", jobs, *args, **env)
    return {model["model"]: model for model in document["models"]}

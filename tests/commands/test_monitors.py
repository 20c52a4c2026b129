"""An engine's monitor in `fallback_args`, where the installed release has none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.commands.program import TOY, call, call_json

# As `vllm serve` of 0.24.0 takes its arguments, as far as ours go.
VLLM = """
import argparse, runpy, sys
parser = argparse.ArgumentParser()
for name in ("command", "model", "--host", "--port", "--tensor-parallel-size"):
    parser.add_argument(name)
given = parser.parse_args()
sys.argv = ["toy", "--port", given.port, "--model", given.model]
runpy.run_path({toy!r}, run_name="__main__")
"""
WORKFLOW = """
schema = 1
[[model]]
id = "org/toy"
tp = 1
engine = "vllm"
fallback_args = ["--jit-monitor-mode", "error"]
env = {{ PYTHONPATH = {path} }}
request = {{ path = "/generate", json = {{ prompt = "warmup" }}, expect_text = "warmed" }}
"""


def test_an_older_release_is_launched_without_it_and_that_is_said(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    cli = packages / "vllm" / "entrypoints" / "cli"
    cli.mkdir(parents=True)
    for folder in (cli, *list(cli.parents)[:2]):
        (folder / "__init__.py").touch()
    (cli / "main.py").write_text(VLLM.format(toy=str(TOY)))
    (packages / "vllm-0.24.0.dist-info").mkdir()
    (packages / "vllm-0.24.0.dist-info" / "METADATA").write_text("Name: vllm\nVersion: 0.24.0\n")
    path = json.dumps(str(packages))
    (tmp_path / "workflow.toml").write_text(WORKFLOW.format(path=path))
    args = ("--workflow", "workflow.toml", "--python", sys.executable)
    (planned,) = call_json(tmp_path, "plan", *args)["models"]
    assert "--jit-monitor-mode" not in planned["argv"]
    done = call(tmp_path, "run", *args)
    assert done.returncode == 0, done.stderr
    assert "left away, as this release of vllm lacks it: --jit-monitor-mode error" in done.stderr

"""sglang-diffusion under `run`: its broker's port, and its final words in a 503."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.commands.program import add_package, call

SERVER = Path(__file__).parents[1] / "servers" / "sglang_diffusion.py"
WORKFLOW = """
schema = 1
[[model]]
id = "./model"
engine = "sglang-diffusion"
fallback_args = {args}
"""


def run_diffusion(folder: Path, *args: str) -> tuple[int, str, str]:
    """Exit status, state and reason of the one model."""
    path = add_package(folder, "sglang")
    module = folder / "packages/sglang/multimodal_gen/runtime/entrypoints/cli/main.py"
    module.parent.mkdir(parents=True)
    shutil.copy(SERVER, module)
    (folder / "model").mkdir()
    (folder / "model" / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    (folder / "w.toml").write_text(WORKFLOW.format(args=json.dumps(args)))
    done = call(folder, "run", "--workflow", "w.toml", "--json", PYTHONPATH=path)
    (model,) = json.loads(done.stdout)["models"]
    return done.returncode, model["state"], model["reason"]


def test_it_becomes_ready_as_its_brokers_port_is_left_to_it(tmp_path: Path) -> None:
    status, state, reason = run_diffusion(tmp_path)
    assert (status, state) == (0, "warmed"), reason


def test_a_dead_broker_ends_the_wait_at_once(tmp_path: Path) -> None:
    """Within the 120 s that the program has, of the 900 s that a start may take."""
    status, state, reason = run_diffusion(tmp_path, "--broker-dies")
    assert (status, state) == (1, "failed")
    assert "Offline request broker exited; restart the server." in reason

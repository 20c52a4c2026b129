"""What a fleet's first job pays: `plan --matrix` over 200 models, half of them warmed before.

Budget: 0.5 s. `python benchmarks/plan_matrix.py [RUNS]`
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.table import get_machine, print_table, time_command

ROOT = Path(__file__).resolve().parent.parent
NUM_MODELS = 200


def make_workflow(folder: Path) -> Path:
    lines = ["schema = 1", '[defaults]\nengine = "command"']
    for index in range(NUM_MODELS):
        lines += [
            "[[model]]",
            f'id = "org/model-{index}"\ntp = {(1, 2, 4, 8)[index % 4]}',
            f'command = ["serve", "--kernel", "k{index}"]',
        ]
    path = folder / "workflow.toml"
    path.write_text("\n".join(lines))
    return path


def write_markers(workflow: Path, home_path: Path) -> None:
    from warmup.state.api import Home, make_marker, read_vector, write_marker
    from warmup.workflow.api import Selection, load

    home = Home(home_path)
    home.ensure()
    vector = read_vector(
        python=sys.executable, env=os.environ, engines=(), source_paths=(), repo_dir=ROOT
    )
    for index, launch in enumerate(load(Selection(workflow=workflow), ROOT).launches[::2]):
        marker = make_marker(
            launch,
            vector,
            argv=launch.command,
            engine_version=None,
            families={},
            manifest=b"",
            phases={},
            seconds=30.0 + index,
            proven=False,
        )
        write_marker(home, marker)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as name:
        workflow = make_workflow(Path(name))
        write_markers(workflow, Path(name) / "home")
        env = {
            **os.environ,
            "HOME": name,
            "WARMUP_CI_HOME": f"{name}/home",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "warmup", "plan", "--workflow", str(workflow), "--matrix"]
        timing = time_command(command, runs=runs, env=env)
    print(f"{get_machine()}; median of {runs} runs\n")
    print_table(
        ("command", "median s", "slowest s", "budget s"),
        [(f"plan --matrix, {NUM_MODELS} models", f"{timing.seconds:.3f}",
          f"{timing.slowest:.3f}", "0.500")],
    )  # fmt: skip


if __name__ == "__main__":
    main()

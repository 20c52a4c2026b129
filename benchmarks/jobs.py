"""What `run --jobs 2` gains: two equal toy models, side by side and one after the other.

Each server sleeps while it "loads", as one does that waits for a disk or a GPU. Budget: 0.6.
`python benchmarks/jobs.py [RUNS [LOAD_SECONDS]]`
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.table import get_machine, print_table, time_command

ROOT = Path(__file__).resolve().parent.parent
TOY = ROOT / "tests" / "servers" / "http_toy.py"


def make_workflow(folder: Path, load_s: float) -> Path:
    lines = ["schema = 1", '[defaults]\nengine = "command"']
    for name in ("a", "b"):
        serve = f'sleep {load_s}; exec \\"$0\\" \\"$1\\" --port {{port}} --kernel {name}'
        lines += [
            "[[model]]",
            f'id = "{name}"',
            f'command = ["sh", "-c", "{serve}", "{sys.executable}", "{TOY}"]',
            'health_path = "/health"',
            'request = { path = "/generate", json = {} }',
        ]
    path = folder / "workflow.toml"
    path.write_text("\n".join(lines))
    return path


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    load_s = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    with tempfile.TemporaryDirectory() as name:
        env = {
            **os.environ,
            "HOME": name,
            "WARMUP_CI_HOME": f"{name}/home",
            "TRITON_CACHE_DIR": f"{name}/triton",
            "PYTHONPATH": str(ROOT),
        }
        workflow = make_workflow(Path(name), load_s)
        run = [sys.executable, "-m", "warmup", "run", "--workflow", str(workflow), "--force"]
        rows = {
            "run": run,
            "run --jobs 1": [*run, "--jobs", "1"],
            "run --jobs 2": [*run, "--jobs", "2"],
        }
        found = {row: time_command(command, runs=runs, env=env) for row, command in rows.items()}
    print(f"{get_machine()}; medians of {runs} runs, two models that load for {load_s:g} s\n")
    print_table(
        ("command", "median s", "slowest s", "ratio to run"),
        [
            (
                row,
                f"{timing.seconds:.2f}",
                f"{timing.slowest:.2f}",
                f"{timing.seconds / found['run'].seconds:.2f}",
            )
            for row, timing in found.items()
        ],
    )


if __name__ == "__main__":
    main()

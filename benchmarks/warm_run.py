"""What a step pays when all is warm: `run` of five warm models, beside importing torch and triton.

The rival is the least that a script pays which keys its marker on `torch.__version__` and
`triton.__version__`: importing both. `python benchmarks/warm_run.py [RUNS]`
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.table import get_machine, print_table, time_command

ROOT = Path(__file__).resolve().parent.parent
TOY = ROOT / "tests" / "servers" / "http_toy.py"
NUM_MODELS = 5
MIB = 1 << 20


def make_workflow(folder: Path) -> Path:
    lines = ["schema = 1", '[defaults]\nengine = "command"']
    for index in range(NUM_MODELS):
        lines += [
            "[[model]]",
            f'id = "org/model-{index}"\ntp = 8',
            f'command = ["{sys.executable}", "{TOY}", "--port", "{{port}}"]',
            f'fallback_args = ["--kernel", "k{index}"]',
            'request = { path = "/generate", json = {} }',
        ]
    path = folder / "workflow.toml"
    path.write_text("\n".join(lines))
    return path


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = {
            **os.environ,
            "HOME": name,
            "WARMUP_CI_HOME": f"{name}/home",
            "TRITON_CACHE_DIR": f"{name}/triton",
            "PYTHONPATH": str(ROOT),
        }
        run = [sys.executable, "-m", "warmup", "run", "--workflow", str(make_workflow(folder))]
        rows = {
            "import torch, triton": [sys.executable, "-c", "import torch, triton"],
            "python -c pass": [sys.executable, "-c", "pass"],
            "warmup-ci --help": [sys.executable, "-m", "warmup", "--help"],
            f"warmup-ci run, {NUM_MODELS} warm models": run,
        }
        # The first, uncounted call of `run` warms the models.
        found = {row: time_command(command, runs=runs, env=env) for row, command in rows.items()}
    rival = found["import torch, triton"]
    print(f"{get_machine()}; medians of {runs} runs\n")
    print_table(
        ("command", "median s", "slowest s", "ratio to the import", "peak RSS MiB"),
        [
            (
                row,
                f"{timing.seconds:.3f}",
                f"{timing.slowest:.3f}",
                f"{timing.seconds / rival.seconds:.3f}",
                f"{timing.rss_bytes / MIB:.1f}",
            )
            for row, timing in found.items()
        ],
    )


if __name__ == "__main__":
    main()

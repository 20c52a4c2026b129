"""What the ladder costs beside the one request of `ladder = "off"`.

`python -m benchmarks.ladder [RUNS] [--model DIR] [--engine ENGINE]`: without a model, the tiny
random text model under `transformers serve`. With `--real-python PYTHON`, an interpreter of
`make test-engines`, real sglang or vLLM on a CPU with the tiny model of those tests. Seconds are
those of `run --json`: the phase `request` with the ladder off, and `request` + `ladder` with it;
medians over the runs. The aim is a ratio of at most 1.5 on the tiny model, and 30 s on a real
server.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.table import get_machine, median, print_table
from tests.engines.real import ENGINES, make_text, write_workflow

ROOT = Path(__file__).resolve().parent.parent
LADDERS = ("off", "short", "full")


def warm(which: list[str], ladder: str, folder: Path) -> Any:
    """The model's object of `run --json`, with an empty home and empty caches of its own.

    which: the arguments that name model and engine.
    """
    env = {
        **os.environ,
        "HOME": str(folder),
        "WARMUP_CI_HOME": str(folder / "home"),
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
    }
    args = ["run", *which, "--ladder", ladder, "--json", "--cache-root", str(folder / "caches")]
    command = [sys.executable, "-m", "warmup", *args]
    done = subprocess.run(
        command, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    (found,) = json.loads(done.stdout)["models"]
    if found["state"] != "warmed":
        raise RuntimeError(f"{ladder}: {found['reason']}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="?", type=int, default=5)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--real-python", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        model: Path = args.model or Path(name) / "text"
        which = ["--models", str(model.resolve()), "--engine", args.engine]
        if args.real_python is not None:
            model = make_text(model)
            engine = ENGINES[args.engine]
            write_workflow(Path(name), args.real_python.absolute(), engine, model)
            which = ["--workflow", f"{name}/workflow.toml"]
        elif args.model is None:
            make = [sys.executable, "-m", "warmup.engine.tiny.text", str(model)]
            subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        seconds: dict[str, list[float]] = {ladder: [] for ladder in LADDERS}
        steps: dict[str, list[float]] = {}
        for run in range(args.runs):
            for ladder in LADDERS:
                folder = Path(name) / f"{ladder}-{run}"
                folder.mkdir()
                found = warm(which, ladder, folder)
                phases = found["phases"]
                seconds[ladder].append(phases["request"] + phases.get("ladder", 0.0))
                for step in found["steps"] if ladder == "full" else ():
                    steps.setdefault(step["step"], []).append(step["seconds"])
    print(f"{get_machine()}; {args.engine}, medians of {args.runs} runs\n")
    one = median(seconds["off"])
    rows = [(each, f"{median(s):.2f}", f"{median(s) / one:.2f}") for each, s in seconds.items()]
    print_table(("ladder", "all requests s", "ratio to off"), rows)
    print()
    print_table(("step", "s"), [(step, f"{median(taken):.3f}") for step, taken in steps.items()])


if __name__ == "__main__":
    main()

"""What `report` costs over a home of 500 runs of 20 models, and how large its page is.

The runs are written by `Events` itself, as `run` writes them: every kind of event, ladders, and
log tails of 30 lines. `python -m benchmarks.report [RUNS]` (repetitions of each command)
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import get_machine, print_table, time_command
from warmup.report.document import ModelResult
from warmup.report.events import Events, tell_compiled

ROOT = Path(__file__).resolve().parent.parent
NUM_RUNS, NUM_MODELS = 500, 20
MIB = 1 << 20
NEW_ENTRIES = {"deep_gemm": 41, "triton": 9}
ARGV = ("python3", "-m", "sglang.launch_server", "--model-path", "org/model", "--tp", "8") * 3
TAIL = [f"[2026-11-24 10:00:{i:02} TP0] Decode batch, #running-req: {i}, token usage: 0.02, gen"
        for i in range(30)]  # fmt: skip


def write_run(folder: Path, failing: int) -> None:
    folder.mkdir(parents=True)
    events = Events(folder / "events.jsonl")
    names = [f"org/model-{index}:8" for index in range(NUM_MODELS)]
    events.emit("run_started", run_id=folder.name, models=names, version_key="0123456789abcdef",
                price_per_gpu_hour=2.5, target="")  # fmt: skip
    for index, name in enumerate(names):
        write_model(events, name, index, is_failed=index == failing)
    events.emit("run_finished", exit_code=int(failing < NUM_MODELS), seconds=900.0)
    events.close()


def write_model(events: Events, name: str, index: int, *, is_failed: bool) -> None:
    events.emit("model_started", name, index=index + 1, total=NUM_MODELS, engine="sglang",
                reason="torch 2.12 → 2.13", argv=list(ARGV), gpus="0,1,2,3,4,5,6,7",
                log=f"/home/ci/runs/r/model-{index}.log")  # fmt: skip
    for phase in ("kernels", "spawn", "ready", "request", "ladder", "stop", "memory"):
        events.emit("phase", name, phase=phase, state="started")
        events.emit("phase", name, phase=phase, state="finished", seconds=10.0 + index)
    for step in range(8):
        events.emit("step", name, step=f"prompt {1 << step}", state="answered", seconds=1.5,
                    new_entries={"deep_gemm": step, "triton": 2})  # fmt: skip
    for family, count in NEW_ENTRIES.items():
        kernels = [(time.time(), f"{family}_kernel_of_some_length_{n}") for n in range(count)]
        tell_compiled(events, name, family, kernels)
    events.emit("log_tail", name, path=f"/home/ci/runs/r/model-{index}.log", lines=TAIL, cut=True,
                trouble=28 if is_failed else None)  # fmt: skip
    events.finish(
        ModelResult(
            model=name.removesuffix(":8"),
            tp=8,
            engine="sglang",
            state="failed" if is_failed else "warmed",
            reason="torch 2.12 → 2.13",
            seconds=70.0 + index,
            new_entries=NEW_ENTRIES,
            argv=ARGV,
        )
    )


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as name:
        runs = Path(name) / "home" / "runs"
        for index in range(2):  # one that fails in four, copied
            write_run(Path(name) / f"run{index}", failing=3 if index else NUM_MODELS)
        for number in range(NUM_RUNS):
            made = Path(name) / f"run{int(number % 4 == 3)}"
            shutil.copytree(made, runs / f"20261124T{number:06}Z-{number:06x}")
        size = sum(path.stat().st_size for path in runs.glob("*/events.jsonl"))
        env = {**os.environ, "WARMUP_CI_HOME": f"{name}/home", "PYTHONPATH": str(ROOT)}
        page = Path(name) / "page.html"
        program = [sys.executable, "-m", "warmup", "report"]
        files = [f"--{kind}={name}/{kind}" for kind in ("trace", "junit", "prometheus", "otlp")]
        rows = {
            "report": program,
            "report --html": [*program, f"--html={page}"],
            "report, all five files": [*program, f"--html={page}", *files],
            "report RUN, all five files": [*program, "20261124T000007Z", f"--html={page}", *files],
        }
        found = {row: time_command(rows[row], runs=repetitions, env=env) for row in rows}
        print(f"{get_machine()}; medians of {repetitions}; {NUM_RUNS} runs of {NUM_MODELS} models,"
              f" {size / MIB:.0f} MiB of events; the page takes"
              f" {page.stat().st_size / 1000:.0f} KB\n")  # fmt: skip
        print_table(
            ("command", "median s", "slowest s", "peak RSS MiB"),
            [
                (row, f"{each.seconds:.2f}", f"{each.slowest:.2f}", f"{each.rss_bytes / MIB:.0f}")
                for row, each in found.items()
            ],
        )


if __name__ == "__main__":
    main()

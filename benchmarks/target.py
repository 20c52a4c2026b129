"""What the null device costs: seeding a large model, importing torch on it, one decode step.

    python -m benchmarks.target TARGET_PYTHON [--seed-only | --small-only] [--runs 5]

TARGET_PYTHON: the interpreter of an environment with CUDA wheels (`make setup-target`). The large
model has the dimensions of Qwen2.5-VL-72B-Instruct and random weights. It is seeded twice on one
cache: the second run compiles nothing, so what it takes is what is not the compilers'. Memory is
the sum of the resident sizes of all processes, shared pages counted in each, sampled five times a
second. A step is the fastest of 40. Aims: 4 GiB and 90 s on two cores; 3 s for import and hook; a
step in 3 times the CPU's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.table import get_machine, median, print_table
from warmup.target.environment import make_environment
from warmup.target.profile import parse_target

ROOT = Path(__file__).resolve().parent.parent
GIB = 1 << 30
HEAD = ("what", "measured", "aim")
# config.json of Qwen/Qwen2.5-VL-72B-Instruct (2025-01).
TEXT = {
    "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80,
    "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 152064,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
}  # fmt: skip
VISION = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3456, "num_heads": 16,
    "out_hidden_size": 8192, "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112,
}  # fmt: skip
WORKFLOW = """
schema = 1
[defaults]
python = "{python}"
start_timeout_s = 900
request_timeout_s = 900
target = "h200x2"
[[model]]
id = "./model"
tp = 2
fallback_args = ["--fp8"]
"""
IMPORT = """
import time
begin = time.perf_counter()
import torch
torch.empty(1, device=DEVICE)
print(time.perf_counter() - begin)
"""
STEP = """
import sys, time
import torch
from warmup.engine.args import ServerArgs
from warmup.engine.ranks import Ranks
from warmup.engine.vlm.model import VisionLanguageModel

args = ServerArgs(model=sys.argv[1], max_batch=2, device=DEVICE, dtype="bfloat16")
model = VisionLanguageModel(args, Ranks(args, 0), 256)
for _ in range(2):
    model.prefill([257, *range(60, 90)], None, [])
taken = []
for step in range(40):
    begin = time.perf_counter()
    model.decode([65, 66]).argmax(-1).tolist()
    taken.append(time.perf_counter() - begin)
print(min(taken))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", type=Path)
    parser.add_argument("--seed-only", action="store_true")
    parser.add_argument("--small-only", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{get_machine()}, load {load:.1f}; medians of {args.runs} but for seeding\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-target-") as folder:
        there = Device(args.python.absolute(), Path(folder))
        if not args.seed_only:
            print_table(HEAD, there.measure_small(args.runs))
            print(flush=True)
        if not args.small_only:
            print_table(HEAD, there.measure_seeding())


class Device:
    """The null device as a server meets it. folder: for the home, the caches and the models."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder = python, folder
        self.base = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "WARMUP_CI_HOME": str(folder / "home"),
            "TRITON_CACHE_DIR": str(folder / "triton"),
        }
        self.base.setdefault("CUDA_HOME", "/usr/local/cuda")
        (folder / "home").mkdir()
        target = parse_target("h200x1")
        over = make_environment(target, self.base, folder / "home" / "target", folder)
        self.there = {**self.base, **over}

    def run(self, code: str, device: str, *args: str) -> float:
        """What a program prints, on the null device or on the CPU."""
        env = self.there if device == "cuda" else self.base
        program = code.replace("DEVICE", repr(device))
        command = [str(self.python), "-c", program, *args]
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
        return float(done.stdout.split()[-1])

    def make_tiny(self, name: str) -> Path:
        path = self.folder / name
        command = [str(self.python), "-m", "warmup", "serve", "--make-tiny", "qwen2.5-vl"]
        subprocess.run([*command, str(path)], env=self.base, check=True, capture_output=True)
        return path

    def measure_small(self, runs: int) -> list[tuple[str, str, str]]:
        plain, null = (
            median([self.run(IMPORT, device) for _ in range(runs)]) for device in ("cpu", "cuda")
        )
        model = str(self.make_tiny("tiny"))
        self.run(STEP, "cuda", model)  # it compiles
        cpu, cuda = (
            median([self.run(STEP, device, model) for _ in range(runs)])
            for device in ("cpu", "cuda")
        )
        return [
            ("import torch, one tensor: CPU", f"{plain:.2f} s", ""),
            ("… null device", f"{null:.2f} s", ""),
            ("the null device's own part", f"{null - plain:.2f} s", "3 s"),
            ("decode step, tiny Qwen2.5-VL, batch 2: CPU", f"{1e3 * cpu:.1f} ms", ""),
            ("… null device", f"{1e3 * cuda:.1f} ms ({cuda / cpu:.1f} x)", "3 x"),
        ]

    def measure_seeding(self) -> list[tuple[str, str, str]]:
        path = self.make_tiny("model") / "config.json"
        config = json.loads(path.read_text())
        config["vision_config"] |= VISION
        text = config["text_config"] | TEXT
        del text["layer_types"]  # of the tiny model's two
        config["text_config"] = text
        path.write_text(json.dumps(config))
        for weights in path.parent.glob("*.safetensors*"):
            weights.unlink()
        (self.folder / "workflow.toml").write_text(WORKFLOW.format(python=self.python))
        cold, cold_bytes = self._seed()
        shutil.rmtree(self.folder / "home" / "markers")
        warm, warm_bytes = self._seed()
        parts = ", ".join(f"{name} {taken:.0f}" for name, taken in warm["phases"].items())
        num_new = sum(cold["new_entries"].values())
        return [
            ("seeding 72B, tp 2, --fp8, cold", f"{cold['seconds']:.0f} s, {num_new} entries", ""),
            ("… peak RSS, compilers among it", f"{cold_bytes / GIB:.1f} GiB", ""),
            ("… again, nothing to compile", f"{warm['seconds']:.0f} s ({parts})", "90 s"),
            ("… peak RSS", f"{warm_bytes / GIB:.1f} GiB", "4 GiB"),
        ]

    def _seed(self) -> tuple[dict[str, Any], int]:
        """The model's part of the document, and the most bytes that all processes held at once."""
        command = [sys.executable, "-m", "warmup", "run", "--workflow", "workflow.toml", "--json"]
        command += ["--cache-root", str(self.folder / "caches")]
        log = (self.folder / "run.log").open("ab")
        with (
            log,
            subprocess.Popen(
                command, cwd=self.folder, env=self.base, stdout=subprocess.PIPE, stderr=log
            ) as run,
        ):
            peak, own = 0, psutil.Process(run.pid)
            while run.poll() is None:
                peak = max(peak, sum(map(get_rss, [own, *own.children(recursive=True)])))
                time.sleep(0.2)
            assert run.stdout is not None
            document = json.loads(run.stdout.read())
        (model,) = document["models"]
        if model["state"] != "seeded":
            sys.exit(f"{model['reason']}\n{(self.folder / 'run.log').read_text()[-4000:]}")
        found: dict[str, Any] = model
        return found, peak


def get_rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


if __name__ == "__main__":
    main()

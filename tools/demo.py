"""`make demo`: tiny checkpoints on disk, then `warmup-ci run` on them twice, cold and warm.

All of it lives under `.demo/`: checkpoints, JIT caches and the home, so that the first run is
cold each time and nothing of the user's is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo"
# Checkpoint → the module and its arguments that make it.
CHECKPOINTS = {"tiny-text": ["warmup.engine.tiny.text"]}


def main() -> int:
    for name, words in CHECKPOINTS.items():
        if not (DEMO / name / "config.json").exists():
            print(f"demo: making the random-weight checkpoint .demo/{name}", flush=True)
            subprocess.run([sys.executable, "-m", *words, str(DEMO / name)], check=True, cwd=ROOT)
    for folder in (DEMO / "home", DEMO / "cache"):
        shutil.rmtree(folder, ignore_errors=True)
    seconds = {}
    for name in ("cold", "warm"):
        command = ["run", "--workflow", "workflows/cpu-demo.toml", "--cache-root", ".demo/cache"]
        print(f"\ndemo: {name} run: warmup-ci {' '.join(command)}", flush=True)
        begin = time.monotonic()
        status = subprocess.run(
            [sys.executable, "-m", "warmup", *command],
            cwd=ROOT,
            env={**os.environ, "WARMUP_CI_HOME": str(DEMO / "home")},
        ).returncode
        seconds[name] = time.monotonic() - begin
        if status != 0:
            print(f"demo: the {name} run failed with exit status {status}", file=sys.stderr)
            return status
    ratio = seconds["cold"] / seconds["warm"]
    print(f"\ndemo: cold {seconds['cold']:.1f} s, warm {seconds['warm']:.2f} s ({ratio:.0f} x)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

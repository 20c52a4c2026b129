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
# Checkpoint under `.demo/` → its family, as `warmup-ci serve --make-tiny` knows it.
CHECKPOINTS = {"tiny-text": "text", "tiny-sd3": "sd3", "tiny-qwen2.5-vl": "qwen2.5-vl"}


def main() -> int:
    # Made anew each time: the seeds are fixed, and an interrupted demo leaves half of one.
    shutil.rmtree(DEMO, ignore_errors=True)
    for name, family in CHECKPOINTS.items():
        print(f"demo: making the random-weight checkpoint .demo/{name}", flush=True)
        make = ["-m", "warmup", "serve", "--make-tiny", family, str(DEMO / name)]
        subprocess.run([sys.executable, *make], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
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

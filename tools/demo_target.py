"""`make demo-target`: a tiny diffusion and a vision-language model seeded for an H200, here.

`demo_target.py PYTHON`: the interpreter that has CUDA wheels. All of it lives under
`.demo-target/`. It ends with what was compiled, per family.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo-target"
TARGET = "h200x2"
# Folder → family, and what its server is told besides.
MODELS = {
    "tiny-sd3": ("sd3", ["--torch-compile"]),
    "tiny-qwen2.5-vl": ("qwen2.5-vl", []),
}


def main() -> int:
    python = str(Path(sys.argv[1]).absolute())
    shutil.rmtree(DEMO, ignore_errors=True)
    lines = ["schema = 1", "[defaults]", f'python = "{python}"', "start_timeout_s = 600"]
    for name, (family, args) in MODELS.items():
        print(f"demo-target: making the random-weight checkpoint {DEMO.name}/{name}", flush=True)
        make = ["-m", "warmup", "serve", "--make-tiny", family, str(DEMO / name)]
        subprocess.run([sys.executable, *make], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        lines += ["[[model]]", f'id = "./{name}"', f"fallback_args = {json.dumps(args)}"]
    (DEMO / "workflow.toml").write_text("\n".join([*lines, ""]))
    command = ["run", "--workflow", str(DEMO / "workflow.toml"), "--target", TARGET]
    command += ["--cache-root", str(DEMO / "caches")]
    print(f"\ndemo-target: warmup-ci {' '.join(command)}", flush=True)
    env = {**os.environ, "WARMUP_CI_HOME": str(DEMO / "home")}
    env.setdefault("CUDA_HOME", "/usr/local/cuda")
    done = subprocess.run(
        [sys.executable, "-m", "warmup", *command], cwd=ROOT, env=env, check=False
    )
    if done.returncode == 0:
        show_compiled()
    return done.returncode


def show_compiled() -> None:
    """From the seeds' own markers and manifests."""
    for path in sorted((DEMO / "home" / "markers").glob("*.json")):
        marker = json.loads(path.read_text())
        manifest = json.loads((DEMO / "home" / "manifests" / path.name).read_text())
        print(f"\n{Path(marker['launch']['model']).name}: a seed for {marker['target']}")
        for family, roots in manifest["families"].items():
            kernels = sorted(one["kernel"] for root in roots for one in root["entries"])
            if kernels:
                more = ", …" if len(kernels) > 8 else ""
                print(f"  {family} {len(kernels)}: {', '.join(kernels[:8])}{more}")
        if marker["left_out"]:
            print(f"  left out, since nothing was timed: {', '.join(marker['left_out'])}")


if __name__ == "__main__":
    sys.exit(main())

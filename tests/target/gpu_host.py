"""`warmup-ci` as on a machine that has the GPUs: NVML, as it reads it, is the null device's.

No GPU is needed, and none is claimed to have been seen: what a test shows with this is what the
program does with such answers. Only the look for a driver's device file is led elsewhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.commands.program import ROOT, get_env
from tests.target.null_device import get_libraries
from warmup.target.profile import encode_profile, parse_target

# Python's own start runs it, in the jobs of a run as in the run.
_SITE = """
import pathlib
from warmup.state import gpus
gpus._DEVICE_FILES = (pathlib.Path("/dev/null"),)
"""


def call_on_gpu(
    folder: Path, target: str, *args: str, driver: str = "580.95.05", **more: str
) -> subprocess.CompletedProcess[str]:
    """`warmup-ci ARGS` where NVML shows the GPUs of `target` and this driver."""
    profile = folder / "gpu.profile"
    said = encode_profile(parse_target(target)).splitlines()
    kept = [line for line in said if not line.startswith("driver_text")]
    profile.write_text("\n".join([*kept, f"driver_text {driver}", ""]))
    site = folder / "gpu-site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(_SITE)
    libraries = get_libraries()
    preload = [libraries / name for name in ("libcuda.so.1", "libnvidia-ml.so.1")]
    env = get_env(
        folder,
        LD_PRELOAD=":".join(map(str, preload)),
        WARMUP_CI_NULL_PROFILE=str(profile),
        PYTHONPATH=f"{ROOT}{os.pathsep}{site}",
        **more,
    )
    return subprocess.run(
        [sys.executable, "-m", "warmup", *args],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def call_json_on_gpu(folder: Path, target: str, *args: str, **more: str) -> dict[str, Any]:
    done = call_on_gpu(folder, target, *args, "--json", **more)
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document

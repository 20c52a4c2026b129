"""The whole program as a child process, with a home and caches under the test's folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120.0
TOY = Path(__file__).parents[1] / "servers" / "http_toy.py"

WORKFLOW = """
schema = 1
[defaults]
engine = "command"
start_timeout_s = 20
stop_grace_s = 2
[[model]]
id = "toy"
command = ["{python}", "{toy}", "--port", "{{port}}", "--model", "{{model}}"]
fallback_args = [{args}]
health_path = "/health"
request = {{ path = "/generate", json = {{ prompt = "warmup" }}, expect_text = "warmed" }}
"""


def write_workflow(folder: Path, *args: str, more: str = "") -> Path:
    """A workflow of one toy server with these fallback arguments."""
    path = folder / "workflow.toml"
    listed = ", ".join(json.dumps(arg) for arg in args)
    path.write_text(WORKFLOW.format(python=sys.executable, toy=TOY, args=listed) + more)
    return path


def get_env(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    return {
        **kept,
        "HOME": str(folder),
        "WARMUP_CI_HOME": str(folder / "home"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder),
        **more,
    }


def add_package(folder: Path, name: str) -> str:
    """A package of this name that is all but empty. Returns the PYTHONPATH that finds it."""
    package = folder / "packages" / name
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    return f"{ROOT}{os.pathsep}{package.parent}"


def call(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`warmup-ci ARGS` in `folder`; waits for its end."""
    return subprocess.run(
        [sys.executable, "-m", "warmup", *args],
        cwd=folder,
        env=get_env(folder, **env),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )


def call_json(folder: Path, *args: str, **env: str) -> dict[str, Any]:
    """The document of `warmup-ci ARGS --json`."""
    done = call(folder, *args, "--json", **env)
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode, done.stderr
    return document


def call_with_mounts(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell's script in a mount namespace of its own. Skips where nobody may mount."""
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        cwd=folder,
        env=get_env(folder),
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "mount:" in done.stderr or "unshare" in done.stderr:
        pytest.skip("this machine does not let us mount")
    return done

"""A module of ours as a program of its own: found wherever it stands, and nothing is run from the
current folder, which may be a model's, a pull request's or /tmp."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_HOME = Path(__file__).parents[2]
_INSTALLED = ("site-packages", "dist-packages")
# What -P does since Python 3.11: the first entry is the current folder's.
_WITHOUT_CURRENT_FOLDER = (
    "import sys; del sys.path[0]; import runpy; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def make_argv(module: str) -> list[str]:
    """The command, without arguments, that runs `module` as `python -m` does."""
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-m", module]
    return [sys.executable, "-c", _WITHOUT_CURRENT_FOLDER, module]


def make_env(env: Mapping[str, str]) -> dict[str, str]:
    """`env`, in which a checkout of warmup-ci is found; an installed one is found by itself.

    Python's own children keep off the current folder too (PYTHONSAFEPATH).
    """
    return {**env, "PYTHONSAFEPATH": "1", **find_checkout(env)}


def find_checkout(env: Mapping[str, str]) -> dict[str, str]:
    """The PYTHONPATH under which another interpreter finds a checkout of warmup-ci; empty where it
    is installed: there the other has its own, and our packages must not come before those."""
    if _HOME.name in _INSTALLED:
        return {}
    before = env.get("PYTHONPATH")
    return {"PYTHONPATH": f"{_HOME}{os.pathsep}{before}" if before else str(_HOME)}

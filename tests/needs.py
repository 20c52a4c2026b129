"""What a test needs that may not be installed: `@pytest.mark.needs("skopeo", "python:oras")`.

Such a test is skipped, with the reason; with `--require-tools` (as `.ci/run` says, which installs
them all) it fails.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

_PACKAGE = "python:"
_PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
_is_strict = False


def configure(config: pytest.Config) -> None:
    global _is_strict
    _is_strict = bool(config.getoption("--require-tools"))


def require(*names: str) -> None:
    """names: programs, `python:NAME` for packages. Skips, or fails, where one is missing."""
    missing = [name for name in names if not _is_installed(name)]
    told = f"not installed: {', '.join(missing)}"
    if missing and _is_strict:
        pytest.fail(told)
    if missing:
        pytest.skip(told, allow_module_level=True)


def load(module: str) -> Any:
    """A module of a package that may be missing: `require`d, then imported."""
    require(_PACKAGE + module.partition(".")[0])
    return importlib.import_module(module)


def _is_installed(name: str) -> bool:
    if name.startswith(_PACKAGE):
        return importlib.util.find_spec(name.removeprefix(_PACKAGE)) is not None
    return shutil.which(name, path=_PATH) is not None

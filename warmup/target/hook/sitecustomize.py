"""Start-up hook of a server that runs on the null device; found first on its PYTHONPATH.

Python imports it before anything of the server. As soon as torch, or the CuTe DSL, has been
imported it installs what stands in there; a `sitecustomize` of the server's own environment still
runs.
"""

import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

_HERE = Path(__file__).resolve().parent


# Module of the server's → module of ours whose `install` is called after it.
_AFTER = {"torch": "null_ops", "cutlass.cute": "null_cute"}


class _After(importlib.abc.MetaPathFinder):
    """Finds a module as it would be found anyway, and goes on once it has been executed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, path: object, target: object = None) -> "ModuleSpec | None":
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: object) -> None:
            execute(module)
            importlib.import_module(_AFTER[name]).install()

        spec.loader.exec_module = exec_module
        return spec


def _run_shadowed() -> None:
    """The `sitecustomize` that ours hides, if there is one."""
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
    spec = PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


for _name in _AFTER:
    sys.meta_path.insert(0, _After(_name))
_run_shadowed()

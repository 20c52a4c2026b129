"""Start-up hook of a server that runs on the null device; found first on its PYTHONPATH.

Python imports it before anything of the server. As soon as torch has been imported it installs
`null_ops`; a `sitecustomize` of the server's own environment still runs.
"""

import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

_HERE = Path(__file__).resolve().parent


class _AfterTorch(importlib.abc.MetaPathFinder):
    """Finds torch as it would be found anyway, and goes on once it has been executed."""

    def find_spec(self, name: str, path: object, target: object = None) -> "ModuleSpec | None":
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: object) -> None:
            execute(module)
            import null_ops

            null_ops.install()

        spec.loader.exec_module = exec_module
        return spec


def _run_shadowed() -> None:
    """The `sitecustomize` that ours hides, if there is one."""
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
    spec = PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


sys.meta_path.insert(0, _AfterTorch())
_run_shadowed()

"""Faces of rooms whose names are loaded one by one, when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def load_lazily(face: str, places: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a module (PEP 562).

    face: its `__name__`. places: a file of its folder, dotted → the names in it, with blanks
    between. For type checkers the same names are imported under `if TYPE_CHECKING`.
    """
    room = face.rpartition(".")[0]
    files = {name: file for file, names in places.items() for name in names.split()}

    def get(name: str) -> object:
        if name not in files:
            raise AttributeError(f"module {face!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{room}.{files[name]}"), name)

    return get

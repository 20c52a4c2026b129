from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from warmup.engine.tiny.make import make_tiny

Tiny = Callable[[str], Path]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A family's tiny checkpoint, made when first asked for. Read it, don't write to it."""
    root = tmp_path_factory.mktemp("tiny")
    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = make_tiny(family, str(root / family))
        return made[family]

    return get

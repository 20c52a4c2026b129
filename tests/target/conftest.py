"""Takes the compiled libraries away when the session ends."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.target.null_device import get_libraries


@pytest.fixture(scope="session", autouse=True)
def libraries_go_with_the_session() -> Iterator[None]:
    yield
    if get_libraries.cache_info().currsize:
        shutil.rmtree(get_libraries().parent)


@pytest.fixture(scope="session")
def python(request: pytest.FixtureRequest) -> Path:
    """The interpreter with CUDA wheels."""
    found: Path = request.config.getoption("--target-python")
    return found.absolute()

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.caches.caches import compile_triton


@pytest.fixture(scope="session")
def built_triton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of two kernels that Triton compiled for sm_90; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("triton")
    for kernel in ("add_kernel", "scale_kernel"):
        compile_triton(folder / "cache", kernel, source=folder / f"{kernel}.py")
    return folder / "cache"


@pytest.fixture
def triton_cache(built_triton: Path, tmp_path: Path) -> Path:
    """A copy of it: its groups name the files of the original."""
    return Path(shutil.copytree(built_triton, tmp_path / "triton"))


@pytest.fixture(scope="session")
def cubins(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """Architecture → a cubin that Triton's ptxas made for it."""
    folder = tmp_path_factory.mktemp("cubins")
    found = {}
    for arch in (90, 100):
        compile_triton(folder / str(arch), "add_kernel", arch=arch, source=folder / "kernel.py")
        (path,) = (folder / str(arch)).rglob("*.cubin")
        found[arch] = path.read_bytes()
    return found

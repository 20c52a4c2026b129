"""AITER's modules, laid out as aiter/jit/core.py does; nothing of it runs here."""

from __future__ import annotations

from pathlib import Path

import pytest

from warmup.caches.compile_lines import find_compile_lines
from warmup.caches.families.aiter import FAMILY


def test_where_it_lies() -> None:
    assert [str(root) for root in FAMILY.get_roots({"HOME": "/h"})] == ["/h/.aiter/jit"]
    env = {"HOME": "/h", "AITER_JIT_DIR": "/a"}
    assert [str(root) for root in FAMILY.get_roots(env)] == ["/a"]


@pytest.mark.parametrize(
    ("path", "entry", "kernel"),
    [
        ("module_norm.so", "module_norm.so", "module_norm"),
        ("build/module_norm/build/module_norm.so", "build/module_norm", "module_norm"),
        ("build/module_norm/blob/x.cu", "build/module_norm", "module_norm"),
        ("build/module_norm/build/.ninja_log", None, ""),
        ("build/lock_module_norm", None, ""),
        # `~/.aiter/jit` is a copy of the package's folder.
        ("core.py", None, ""),
        ("utils/chip_info.py", None, ""),
        ("optCompilerConfig.json", None, ""),
    ],
)
def test_a_file_belongs_to_an_entry(path: str, entry: str | None, kernel: str) -> None:
    assert FAMILY.find_entry(path) == entry
    if entry is not None:
        assert FAMILY.get_kernel(Path("/nowhere"), entry, [path]) == kernel


def test_the_line_of_a_build(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(
        "[aiter] [pid=7 pname=MainProcess] start build [module_rmsnorm] under /a/build/m\n"
        "[aiter] import [module_rmsnorm] under /a/module_rmsnorm.so\n"
    )
    found = find_compile_lines(tmp_path / "log", ["aiter"])
    assert [line.kernel for line in found] == ["module_rmsnorm"]

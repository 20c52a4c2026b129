from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.caches.caches import set_mtime, write_flashinfer
from tests.caches.hazards.find import find, get_rules
from warmup.caches.hazards.ninja import read_ninja

ROOT = Path(".cache/flashinfer")


def test_a_module_as_it_was_built_is_clean(tmp_path: Path) -> None:
    write_flashinfer(tmp_path, "/usr/local/cuda")
    assert find("flashinfer", tmp_path / ROOT, cuda_home="/usr/local/cuda") == []
    assert find("flashinfer", tmp_path / ROOT) == []


def test_another_spelling_of_the_same_cuda_home_is_told(tmp_path: Path) -> None:
    (tmp_path / "cuda-13.0").mkdir()
    (tmp_path / "cuda").symlink_to("cuda-13.0")
    write_flashinfer(tmp_path, str(tmp_path / "cuda"))
    (found,) = find("flashinfer", tmp_path / ROOT, cuda_home=str(tmp_path / "cuda-13.0"))
    assert (found.rule, found.kernel) == ("flashinfer-cuda-home", "batch_prefill")
    assert found.message.endswith("(the same folder)") and not found.is_repairable


def test_a_source_newer_than_its_object_is_an_inversion(tmp_path: Path) -> None:
    write_flashinfer(tmp_path, "/usr/local/cuda")
    (source,) = (tmp_path / ROOT).rglob("*.cu")
    set_mtime(source, 1_000_000_015)
    (found,) = find("flashinfer", tmp_path / ROOT)
    assert (found.rule, found.kernel) == ("ninja-mtime-inversion", "batch_prefill")
    assert f"batch_prefill.cuda.o is older than its input {source}" in found.message


def test_an_object_newer_than_its_library_is_an_inversion(tmp_path: Path) -> None:
    folder = write_flashinfer(tmp_path, "/usr/local/cuda")
    set_mtime(folder / "batch_prefill.cuda.o", 1_000_000_030)
    assert get_rules(find("flashinfer", tmp_path / ROOT)) == ["ninja-mtime-inversion"]


@pytest.mark.needs("ninja")
def test_ninja_itself_agrees(tmp_path: Path) -> None:
    """A real build; inverted, ninja really has work to do."""
    folder = tmp_path / "ext"
    folder.mkdir()
    (tmp_path / "ext.cpp").write_text("one")
    (folder / "build.ninja").write_text(
        "src = ../ext.cpp\n"
        "rule copy\n  command = cp $in $out\n"
        "build ext.o: copy $src\n"
        "build ext.so: copy ext.o\n"
        "default ext.so\n"
    )

    def build() -> str:
        done = subprocess.run(
            ["ninja", "-C", folder], check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    set_mtime(tmp_path / "ext.cpp", 1_000_000_000)
    build()
    assert "no work to do" in build()
    assert find("torch_extensions", tmp_path) == []
    set_mtime(tmp_path / "ext.cpp", (folder / "ext.so").stat().st_mtime + 10)
    assert get_rules(find("torch_extensions", tmp_path)) == ["ninja-mtime-inversion"]
    assert "no work to do" not in build()


def test_the_language_is_read_as_far_as_the_builders_write_it(tmp_path: Path) -> None:
    path = tmp_path / "build.ninja"
    path.write_text(
        "name = ext\n"
        "flags = -O3 $\n    -g\n"
        "rule cc\n  command = cc $in\n"
        "build $name.o: cc /src/a$ b.cpp c$:d.cpp | header.h || order\n"
        "build ${name}.so extra: link $name.o\n"
    )
    variables, edges = read_ninja(path)
    assert variables["name"] == "ext" and variables["flags"].split() == ["-O3", "-g"]
    assert edges == [
        (["ext.o"], ["/src/a b.cpp", "c:d.cpp", "header.h"]),
        (["ext.so", "extra"], ["ext.o"]),
    ]


def test_a_build_file_that_is_none_is_clean(tmp_path: Path) -> None:
    folder = write_flashinfer(tmp_path, "/usr/local/cuda")
    for data in (b"", b"\xff" * 1000, b"build :\n", b"build a\nbuild b: \n"):
        (folder / "build.ninja").write_bytes(data)
        assert find("flashinfer", tmp_path / ROOT, cuda_home="/x") == []

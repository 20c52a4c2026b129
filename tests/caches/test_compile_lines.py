from __future__ import annotations

from pathlib import Path

from warmup.caches.compile_lines import find_compile_lines, get_log_variables
from warmup.words.names import FAMILY_NAMES

LOG = (
    b"INFO: Loading weights\n"
    b"Running NVCC command: cd /x && /usr/local/cuda/bin/nvcc kernel.cu -cubin\n"
    b"Running command: cd /x && /usr/bin/nvcc k.cu --cubin --output-file k.cubin\n"
    b"Running command: which nvcc\n"
    b"2026-11-21 - INFO - TileLang begins to compile kernel `mhc_prenorm` with `out_idx=None`\n"
    b"2026-11-21 - INFO - TileLang completes to compile kernel `mhc_prenorm`\n"
    b"x - INFO - cute_dsl_core.py:177 - flashinfer.jit: Compiling CuTe-DSL kernel nvfp4_k4096\n"
    b"Building extension module rasterizer...\n"
    b"\xff\xfe not a line of ours\n"
)


def test_compile_lines_are_found_with_family_and_kernel(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LOG)
    found = find_compile_lines(tmp_path / "log", FAMILY_NAMES)
    assert [(line.family, line.kernel) for line in found] == [
        ("deep_gemm", ""),
        ("deep_gemm", ""),
        ("tilelang", "mhc_prenorm"),
        ("flashinfer", "nvfp4_k4096"),
        ("torch_extensions", "rasterizer"),
    ]
    assert found[0].text.startswith("Running NVCC command: cd /x")


def test_only_what_comes_after_the_offset_counts(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LOG)
    offset = len(LOG)
    with (tmp_path / "log").open("ab") as file:
        file.write(b"Running NVCC command: last, without a newline")
    (line,) = find_compile_lines(tmp_path / "log", FAMILY_NAMES, offset)
    assert line.text == "Running NVCC command: last, without a newline"


def test_only_the_families_asked_for_count(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LOG)
    assert find_compile_lines(tmp_path / "log", ["triton", "inductor"]) == []


def test_lines_across_chunks_and_endless_ones_are_found(tmp_path: Path) -> None:
    line = b"Running NVCC command: x\n"
    (tmp_path / "log").write_bytes(b"a" * ((1 << 20) - 10) + b"\n" + line + b"b" * (3 << 20) + line)
    assert len(find_compile_lines(tmp_path / "log", ["deep_gemm"])) == 2


def test_the_variables_that_make_servers_say_so() -> None:
    variables = get_log_variables(FAMILY_NAMES)
    assert variables["DG_JIT_PRINT_COMPILER_COMMAND"] == "1"
    assert variables["TILELANG_PRINT_ON_COMPILATION"] == "1"

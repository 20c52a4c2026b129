from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.caches.caches import write_deep_gemm
from tests.caches.hazards.find import find, get_rules
from warmup.caches.elf import find_architecture
from warmup.caches.hazards.cubin import find_fault, repair


def test_a_real_cubin_is_whole(tmp_path: Path, cubins: dict[int, bytes]) -> None:
    write_deep_gemm(tmp_path, cubin=cubins[90])
    assert find("deep_gemm", tmp_path) == []
    assert {find_architecture(data) for data in cubins.values()} == {90, 100}


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_what_nvcc_makes_is_whole_until_its_last_byte_is_cut(tmp_path: Path) -> None:
    (tmp_path / "k.cu").write_text('extern "C" __global__ void k(float* a) { a[0] *= 2; }\n')
    cubin = tmp_path / "k.cubin"
    command = ["nvcc", "-arch=sm_90a", "--cubin", "-o", str(cubin), str(tmp_path / "k.cu")]
    subprocess.run(command, check=True, timeout=120, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert find_fault(str(cubin)) is None
    assert find_architecture(cubin.read_bytes()) == 90
    os.truncate(cubin, cubin.stat().st_size - 1)
    assert "truncated" in str(find_fault(str(cubin)))


def test_any_truncation_is_seen(tmp_path: Path, cubins: dict[int, bytes]) -> None:
    path, data = tmp_path / "k.cubin", cubins[90]
    for size in [*range(0, 200), *range(200, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:size])
        assert find_fault(str(path)) is not None, size


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "is empty"),
        (b"\0" * 4096, "is not an ELF file"),
        (b"\x7fELF\x02\x01" + b"\0" * 20, "is truncated"),
        (b"\x7fELF\x01\x01" + b"\0" * 100, "64-bit"),
        (b"\x7fELF\x02\x01" + b"\0" * 12 + struct.pack("<H", 62) + b"\0" * 90, "not a CUDA object"),
    ],
)
def test_what_no_driver_loads_is_told(tmp_path: Path, data: bytes, fault: str) -> None:
    write_deep_gemm(tmp_path, cubin=data)
    (found,) = find("deep_gemm", tmp_path)
    assert (found.rule, found.kernel) == ("cubin-broken", "fp8_gemm")
    assert fault in found.message


def test_sizes_that_overflow_are_a_truncation(tmp_path: Path, cubins: dict[int, bytes]) -> None:
    data = bytearray(cubins[90])
    struct.pack_into("<Q", data, 40, (1 << 64) - 1)
    (tmp_path / "k.cubin").write_bytes(data)
    assert "truncated" in str(find_fault(str(tmp_path / "k.cubin")))


def test_repair_removes_the_entry(tmp_path: Path, cubins: dict[int, bytes]) -> None:
    broken, whole = (
        write_deep_gemm(tmp_path, "broken", cubin=b""),
        write_deep_gemm(tmp_path, "whole", cubin=cubins[90]),
    )
    (found,) = find("deep_gemm", tmp_path)
    repair(found)
    assert not broken.exists() and whole.exists()
    assert get_rules(find("deep_gemm", tmp_path)) == []


def test_repair_leaves_what_was_mended_meanwhile(tmp_path: Path, cubins: dict[int, bytes]) -> None:
    folder = write_deep_gemm(tmp_path, cubin=b"")
    (found,) = find("deep_gemm", tmp_path)
    (folder / "kernel.cubin").write_bytes(cubins[90])
    assert repair(found) == "nothing left to do"
    assert folder.exists()


def test_a_truncated_triton_cubin_is_seen(triton_cache: Path) -> None:
    cubin = next(triton_cache.rglob("add_kernel.cubin"))
    os.truncate(cubin, 100)
    found = [each for each in find("triton", triton_cache) if each.rule == "cubin-broken"]
    assert [each.kernel for each in found] == ["add_kernel"]

from __future__ import annotations

from pathlib import Path

from tests.caches.hazards.find import find
from warmup.caches.hazards.quack import find_architectures


def write_object(root: Path, name: str, cubin: bytes) -> Path:
    """An object as an exporter makes it: an ELF file with a cubin inside."""
    path = root / "fingerprint" / f"{name}.o"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF\x02\x01\x01" + b"\0" * 200 + cubin + b"\0" * 50)
    return path


def test_the_architecture_is_that_of_the_code_inside(
    tmp_path: Path, cubins: dict[int, bytes]
) -> None:
    path = write_object(tmp_path, "a", cubins[90] + cubins[100])
    assert find_architectures(path) == {90, 100}
    path.write_bytes(b"\x7fELF ... --gpu-name sm_120a ...")
    assert find_architectures(path) == {120}


def test_an_object_for_a_gpu_that_is_not_here_is_told(
    tmp_path: Path, cubins: dict[int, bytes]
) -> None:
    write_object(tmp_path, "ours", cubins[90])
    write_object(tmp_path, "other", cubins[100])
    (found,) = find("quack", tmp_path, capabilities=("9.0",))
    assert (found.rule, found.entry) == ("quack-architecture", "fingerprint/other.o")
    assert "sm_100" in found.message and "this host has sm_90" in found.message


def test_without_a_gpu_a_folder_of_two_architectures_is_told(
    tmp_path: Path, cubins: dict[int, bytes]
) -> None:
    write_object(tmp_path, "one", cubins[90])
    assert find("quack", tmp_path) == []
    write_object(tmp_path, "two", cubins[100])
    (found,) = find("quack", tmp_path)
    assert "its neighbours are" in found.message


def test_an_object_without_device_code_is_passed_over(tmp_path: Path) -> None:
    write_object(tmp_path, "host", b"")
    assert find("quack", tmp_path, capabilities=("9.0",)) == []

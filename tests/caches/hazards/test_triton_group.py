from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.caches.caches import compile_triton
from tests.caches.hazards.find import find, get_rules
from warmup.caches.hazards.triton_group import repair


def test_a_cache_where_triton_made_it_is_clean(tmp_path: Path) -> None:
    compile_triton(tmp_path / "cache", "add_kernel", source=tmp_path / "kernel.py")
    assert find("triton", tmp_path / "cache") == []


def test_a_copy_beside_its_original_points_outside(triton_cache: Path) -> None:
    found = find("triton", triton_cache)
    assert get_rules(found) == ["triton-group-outside"] * 2
    assert {each.kernel for each in found} == {"add_kernel", "scale_kernel"}
    assert all(each.severity == "error" and each.is_repairable for each in found)


def test_a_copy_without_its_original_dangles(tmp_path: Path) -> None:
    compile_triton(tmp_path / "cache", "add_kernel", source=tmp_path / "kernel.py")
    (tmp_path / "cache").rename(tmp_path / "moved")
    (found,) = find("triton", tmp_path / "moved")
    assert (found.rule, found.kernel) == ("triton-group-dangling", "add_kernel")
    assert found.is_repairable


def test_a_repaired_copy_is_used_by_triton_without_a_compile(tmp_path: Path) -> None:
    """The control: unrepaired, Triton misses and compiles into the copy again."""
    compile_triton(tmp_path / "cache", "add_kernel", source=tmp_path / "kernel.py")
    shutil.copytree(tmp_path / "cache", tmp_path / "control")
    (tmp_path / "cache").rename(tmp_path / "moved")
    for finding in find("triton", tmp_path / "moved"):
        assert "rewrote 7 child paths" in repair(finding)
    assert find("triton", tmp_path / "moved") == []

    def get_times(root: Path) -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}

    moved, control = get_times(tmp_path / "moved"), get_times(tmp_path / "control")
    for name in ("moved", "control"):
        compile_triton(tmp_path / name, "add_kernel", source=tmp_path / "kernel.py")
    assert get_times(tmp_path / "moved") == moved
    assert get_times(tmp_path / "control") != control


def test_a_group_that_lost_a_child_dangles_and_nothing_can_be_done(tmp_path: Path) -> None:
    compile_triton(tmp_path / "cache", "add_kernel", source=tmp_path / "kernel.py")
    (cubin,) = (tmp_path / "cache").rglob("*.cubin")
    cubin.unlink()
    (found,) = find("triton", tmp_path / "cache")
    assert found.rule == "triton-group-dangling" and not found.is_repairable


def test_a_root_under_another_spelling_is_clean(tmp_path: Path) -> None:
    compile_triton(tmp_path / "cache", "add_kernel", source=tmp_path / "kernel.py")
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    assert find("triton", tmp_path / "link") == []


def test_a_group_that_is_none_is_told(tmp_path: Path) -> None:
    for index, data in enumerate((b"", b"null", b'{"child_paths": 7}', b"[" * 100_000, b"\xff")):
        folder = tmp_path / f"KEY{index}"
        folder.mkdir()
        (folder / "__grp__k.json").write_bytes(data)
    found = find("triton", tmp_path)
    assert get_rules(found) == ["triton-group-dangling"] * 5
    assert not any(each.is_repairable for each in found)


def test_a_hostile_group_is_not_repaired_to_somewhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "KEY"
    folder.mkdir()
    (tmp_path / "evil").touch()
    group = {"child_paths": {"../evil": "/elsewhere/evil"}}
    (folder / "__grp__k.json").write_text(json.dumps(group))
    (found,) = find("triton", tmp_path)
    assert not found.is_repairable


def test_inductors_and_vllms_own_triton_folders_are_looked_at(tmp_path: Path) -> None:
    compile_triton(tmp_path / "cache", "add_kernel", source=tmp_path / "kernel.py")
    for family, place in (("inductor", "triton/0"), ("vllm", "hash/triton_cache")):
        root = tmp_path / family
        shutil.copytree(tmp_path / "cache", root / place)
        (found,) = find(family, root)
        assert (found.rule, found.kernel) == ("triton-group-outside", "add_kernel")
        assert found.entry.startswith(place)
        repair(found)
        assert find(family, root) == []

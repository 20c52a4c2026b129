"""Libraries that cc makes, against others that are then removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.caches.hazards.find import find, get_rules
from warmup.caches.elf import find_needs
from warmup.caches.hazards.libraries import repair
from warmup.caches.hazards.rule import Finding
from warmup.caches.libraries import Libraries

ENTRY = "py312_cu130/ext"


def link(target: Path, text: str, *options: str) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(target), *options]
    env = {**os.environ, "TMPDIR": str(target.parent)}
    subprocess.run(command, input=text.encode(), check=True, timeout=60, env=env)
    return target


@pytest.fixture
def dependency(tmp_path: Path) -> Path:
    return link(tmp_path / "image" / "libsycl_of_before.so.8", "int dep(void) { return 7; }")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


def build(root: Path, dependency: Path, *options: str) -> Path:
    """An extension of a torch_extensions cache that needs `dependency` by its name."""
    text = "int dep(void); int use(void) { return dep(); }"
    search = (f"-L{dependency.parent}", f"-l:{dependency.name}")
    return link(root / ENTRY / "ext.so", text, *search, *options)


def look(root: Path, site: Path, **facts: object) -> list[Finding]:
    return find("torch_extensions", root, packages=(str(site),), **facts)


def test_a_library_that_is_gone_is_told_by_name(
    tmp_path: Path, dependency: Path, site: Path
) -> None:
    path = build(tmp_path / "cache", dependency)
    (found,) = look(tmp_path / "cache", site)
    assert (found.rule, found.severity, found.entry) == ("library-needs-missing", "error", ENTRY)
    assert found.path == str(path)
    assert "libsycl_of_before.so.8" in found.message and "libc" not in found.message


@pytest.mark.parametrize("option", ["-Wl,--enable-new-dtags", "-Wl,--disable-new-dtags"])
@pytest.mark.parametrize("where", ["absolute", "origin"])
def test_its_own_search_path_counts_while_the_library_is_there(
    tmp_path: Path, dependency: Path, site: Path, option: str, where: str
) -> None:
    folder = str(dependency.parent) if where == "absolute" else "$ORIGIN/../../../image"
    build(tmp_path / "cache", dependency, option, f"-Wl,-rpath,{folder}")
    assert look(tmp_path / "cache", site) == []
    dependency.unlink()
    assert get_rules(look(tmp_path / "cache", site)) == ["library-needs-missing"]


@pytest.mark.parametrize(
    "place", ["torch/lib", "nvidia/cu13/lib", "numpy.libs", "tvm_ffi/lib", "."]
)
def test_what_a_package_of_the_server_brings_is_there(
    tmp_path: Path, dependency: Path, site: Path, place: str
) -> None:
    """A server has loaded it by then, and the loader asks for no more than its name."""
    build(tmp_path / "cache", dependency)
    (site / place).mkdir(parents=True, exist_ok=True)
    dependency.rename(site / place / dependency.name)
    assert look(tmp_path / "cache", site) == []


def test_variables_and_absolute_names_count(tmp_path: Path, dependency: Path, site: Path) -> None:
    path = build(tmp_path / "cache", dependency)
    with path.open("rb") as file:
        needs = find_needs(file.fileno())
    assert needs is not None and dependency.name in needs.libraries
    env, paths = {"LD_LIBRARY_PATH": f"/nowhere:{dependency.parent}"}, [str(site)]
    assert Libraries(env, "", paths).list_missing(needs, "/") == []
    toolkit = tmp_path / "cuda" / "lib64"
    toolkit.mkdir(parents=True)
    (toolkit / dependency.name).symlink_to(dependency)
    assert Libraries({}, str(tmp_path / "cuda"), paths).list_missing(needs, "/") == []
    named = needs._replace(libraries=(str(dependency), "/no/libx.so", "libcuda.so.1"))
    assert Libraries({}, "", paths).list_missing(named, "/") == ["/no/libx.so"]


def test_what_this_host_runs_needs_nothing_that_is_missing(built_triton: Path) -> None:
    """Triton's launchers and Python's own modules, against the interpreter that loads them."""
    assert find("triton", built_triton, packages=tuple(filter(None, sys.path))) == []
    libraries, num_seen = Libraries({}, "", [each for each in sys.path if each]), 0
    for path in Path(os.__file__).parent.glob("lib-dynload/*.so"):
        with path.open("rb") as file:
            needs = find_needs(file.fileno())
        assert needs is not None
        assert libraries.list_missing(needs, str(path.parent)) == [], path
        num_seen += 1
    assert num_seen > 10


def test_without_the_servers_packages_nothing_is_said(tmp_path: Path, dependency: Path) -> None:
    build(tmp_path / "cache", dependency)
    assert find("torch_extensions", tmp_path / "cache") == []


def test_the_entry_is_put_in_quarantine_once(tmp_path: Path, dependency: Path, site: Path) -> None:
    build(tmp_path / "cache", dependency)
    (found,) = look(tmp_path / "cache", site)
    assert "quarantine" in repair(found)
    assert look(tmp_path / "cache", site) == []
    assert len(list((tmp_path / "cache").rglob("ext.so"))) == 1
    with pytest.raises(FileNotFoundError):
        repair(found)


def test_any_truncation_is_survived(tmp_path: Path, dependency: Path) -> None:
    data = build(tmp_path / "cache", dependency).read_bytes()
    path = tmp_path / "cut.so"
    for size in [*range(0, 1200, 7), *range(1200, len(data), 499)]:
        path.write_bytes(data[:size])
        with path.open("rb") as file:
            find_needs(file.fileno())


@pytest.mark.parametrize("offset", [32, 40, 64 + 8, 64 + 32])
def test_offsets_that_overflow_are_survived(
    tmp_path: Path, dependency: Path, site: Path, offset: int
) -> None:
    path = build(tmp_path / "cache", dependency)
    data = bytearray(path.read_bytes())
    data[offset : offset + 8] = b"\xff" * 8
    path.write_bytes(data)
    look(tmp_path / "cache", site)

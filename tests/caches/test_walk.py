from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from tests.caches.caches import write_deep_gemm
from warmup.caches.family_table import get_family
from warmup.caches.walk import take_snapshot, walk_root

DEEP_GEMM = get_family("deep_gemm")
QUACK = get_family("quack")


def test_entries_are_found_with_the_stat_of_their_files(tmp_path: Path) -> None:
    folder = write_deep_gemm(tmp_path, cubin=b"12345")
    entries = walk_root(DEEP_GEMM, tmp_path).entries
    (files,) = entries.values()
    sizes = {file.name: file.size for file in files}
    assert list(entries) == [f"cache/{folder.name}"]
    assert sizes == {"kernel.cu": 10, "kernel.cubin": 5}


def test_a_missing_root_is_an_empty_one(tmp_path: Path) -> None:
    snapshot = take_snapshot(["deep_gemm"], {"DG_JIT_CACHE_DIR": str(tmp_path / "none")})
    (root,) = snapshot.families["deep_gemm"]
    assert root.entries == {} and snapshot.problems == []


def test_links_below_the_root_are_listed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.o").write_bytes(b"x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "away").symlink_to(outside)
    (root / "file.o").symlink_to(outside / "secret.o")
    (root / "loop").symlink_to(root)
    found = walk_root(QUACK, root)
    assert found.entries == {}
    assert sorted(found.links) == ["away", "file.o", "loop"]


def test_a_root_that_is_a_link_is_followed_once(tmp_path: Path) -> None:
    write_deep_gemm(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(walk_root(DEEP_GEMM, tmp_path / "link").entries) == 1


def test_a_root_that_is_a_loop_of_links_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    found = walk_root(QUACK, tmp_path / "a")
    assert found.entries == {} and "symbolic links" in found.problems[0]


def test_a_root_that_is_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Not a directory" in walk_root(QUACK, tmp_path / "file").problems[0]


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_what_cannot_be_read_is_a_problem(tmp_path: Path, mode: int) -> None:
    """As another user: root reads everything."""
    folder = tmp_path / "root" / "shut"
    folder.mkdir(parents=True)
    (folder / "a.o").touch()
    for each in (tmp_path, *tmp_path.parents):
        if each.stat().st_uid == os.geteuid() and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o055)
    folder.chmod(mode)
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        found = walk_root(QUACK, tmp_path / "root")
        os.write(write_fd, "\n".join(found.problems).encode())
        os._exit(0)
    os.close(write_fd)
    os.waitpid(pid, 0)
    with os.fdopen(read_fd) as pipe:
        text = pipe.read()
    folder.chmod(0o700)
    assert "Permission denied" in text and "shut" in text


def test_odd_names_are_entries_like_others(tmp_path: Path) -> None:
    for name in (b"new\nline.o", b"\xff\xfe.o", "größe 100%.o".encode()):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).touch()
    names = {os.fsencode(entry) for entry in walk_root(QUACK, tmp_path).entries}
    assert names == {b"new\nline.o", b"\xff\xfe.o", "größe 100%.o".encode()}


def test_sockets_and_fifos_are_no_entries(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.o")
    assert walk_root(QUACK, tmp_path).entries == {}


def test_a_tree_deeper_than_any_stack_is_walked(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    depth, fd = 1500, os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    try:
        found = walk_root(QUACK, root)
    finally:
        # rmtree of CPython before 3.13, and with it pytest's clean-up, is recursive.
        subprocess.run(["rm", "-rf", root], check=True)
    assert found.empty == ["/".join("d" * depth)] and not found.problems


def test_entries_that_vanish_during_the_walk_are_left_out(tmp_path: Path) -> None:
    """A thread makes and removes entries for as long as ten walks last."""
    write_deep_gemm(tmp_path, digest="f" * 32)
    is_done = threading.Event()
    failures: list[BaseException] = []

    def churn() -> None:
        try:
            while not is_done.is_set():
                folders = [write_deep_gemm(tmp_path, digest=f"{i:032x}") for i in range(30)]
                for folder in folders:
                    (folder / "kernel.cu").unlink()
                    (folder / "kernel.cubin").unlink()
                    folder.rmdir()
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(10):
            found = walk_root(DEEP_GEMM, tmp_path)
            assert f"cache/kernel.fp8_gemm.{'f' * 32}" in found.entries
            assert not found.problems
    finally:
        is_done.set()
        thread.join(30)
    assert not failures and not thread.is_alive()


def test_temporaries_of_atomic_writes_are_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "KEY" / "tmp.pid_7_0a"
    folder.mkdir(parents=True)
    (folder / "add.cubin").touch()
    found = walk_root(get_family("triton"), tmp_path)
    assert found.temporaries == ["KEY/tmp.pid_7_0a/add.cubin"] and not found.entries


def test_exposed_files_are_marked(tmp_path: Path) -> None:
    folder = write_deep_gemm(tmp_path)
    (folder / "kernel.cubin").chmod(0o666)
    (files,) = walk_root(DEEP_GEMM, tmp_path).entries.values()
    assert {file.name for file in files if file.is_exposed} == {"kernel.cubin"}

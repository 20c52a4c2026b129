"""What servers that are killed leave in /dev/shm, and what is none of theirs."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.supervise.trees import reap_orphans, start, wait_until
from warmup.supervise.tree.segments import SHM, list_own, list_used
from warmup.supervise.tree.supervisor import Supervisor

pytestmark = pytest.mark.skipif(not os.access(SHM, os.W_OK), reason="needs /dev/shm")
# A segment and a semaphore as multiprocessing makes them, a file in a folder, a cache in another;
# what already is there is mapped too. Nobody unlinks any of it.
_LEAKY = """
import mmap, os, signal, sys
from multiprocessing import shared_memory, resource_tracker
resource_tracker.register = lambda *_: None
name, *others = sys.argv[1:]
segment = shared_memory.SharedMemory(f"psm_{name}", create=True, size=4096)
import _multiprocessing
semaphore = _multiprocessing.SemLock(1, 1, 1, f"/mp-{name}", False)
maps = []
for other in [f"folder_{name}/file", f"cache_{name}/weights", *others]:
    os.makedirs(os.path.dirname(f"/dev/shm/{other}"), exist_ok=True)
    fd = os.open(f"/dev/shm/{other}", os.O_RDWR | os.O_CREAT)
    os.truncate(fd, 4096)
    maps.append(mmap.mmap(fd, 4096))
    os.close(fd)
os.unlink(f"/dev/shm/folder_{name}/file")
print("up", flush=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    signal.pause()
"""


@pytest.fixture
def name(tmp_path: Path) -> Iterator[str]:
    """A word in the names of what the test makes; what is left of it is removed."""
    word = f"test{os.urandom(4).hex()}"
    yield word
    for path in SHM.glob(f"*{word}*"):
        if path.is_dir():
            for inner in path.iterdir():
                inner.unlink()
            path.rmdir()
        else:
            path.unlink()


def list_left(name: str) -> set[str]:
    return {path.name.replace(name, "") for path in SHM.glob(f"*{name}*")}


def test_what_a_killed_server_leaks_is_removed_and_nothing_else(tmp_path: Path, name: str) -> None:
    (SHM / f"before_{name}").write_bytes(b"x")
    with Supervisor(tmp_path / "runs" / "r1", warn=print) as supervisor:
        argv = [sys.executable, "-c", _LEAKY, name, f"before_{name}", f"shared_{name}"]
        server = start(supervisor, tmp_path, argv)
        wait_until(lambda: "up" in (tmp_path / "log").read_text(), "the server")
        (SHM / f"foreign_{name}").write_bytes(b"x")  # made meanwhile by somebody else
        assert {"psm_", "sem.mp-", "folder_"} < list_left(name)
        with ExitStack() as stack:  # used by somebody else too
            shared = stack.enter_context((SHM / f"shared_{name}").open("rb+"))
            stack.enter_context(mmap.mmap(shared.fileno(), 4096))
            assert server.stop(0).killed >= 1
            assert list_left(name) == {"before_", "foreign_", "shared_", "cache_"}
        assert (SHM / f"cache_{name}" / "weights").exists()
    reap_orphans()


def test_what_a_process_has_mapped_or_open(name: str) -> None:
    path = SHM / name
    with path.open("wb+") as file:
        file.truncate(4096)
        (own,) = [each for each, found in list_own().items() if found == name]
        assert own in list_used([os.getpid()])
        mapped = mmap.mmap(file.fileno(), 4096)
    assert own in list_used([os.getpid()])
    mapped.close()
    assert own not in list_used([os.getpid(), 1 << 22])

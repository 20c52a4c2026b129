from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.supervise.toys import DEADLINE_S
from warmup.supervise import ports
from warmup.supervise.ports import lease_ports, peek_ports
from warmup.words.errors import HostError

LEASE_AND_WAIT = """
import sys
from pathlib import Path
from warmup.supervise.ports import lease_ports
lease = lease_ports(Path(sys.argv[1]), 4)
print(*lease.ports, flush=True)
sys.stdin.read()
"""


@contextmanager
def lease_elsewhere(locks: Path) -> Iterator[tuple[subprocess.Popen[str], tuple[int, ...]]]:
    """Another process that holds a lease until its stdin is closed, or it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", LEASE_AND_WAIT, str(locks)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, tuple(int(word) for word in process.stdout.readline().split())
        finally:
            process.kill()


def test_ports_are_contiguous_locked_and_outside_the_ephemeral_range(tmp_path: Path) -> None:
    low, high = ports._get_ephemeral_range()
    with lease_ports(tmp_path, 4) as one, lease_ports(tmp_path, 4) as two:
        assert one.port == one.ports[0]
        assert list(one.ports) == list(range(one.port, one.port + 4))
        assert abs(one.port - two.port) > 250  # room for port + 233 and the next few
        for port in (*one.ports, *two.ports):
            assert not low <= port <= high
    assert list(tmp_path.glob("*.lock"))  # never unlinked


def test_released_ports_come_back(tmp_path: Path) -> None:
    expected = peek_ports(tmp_path, 2)
    lease = lease_ports(tmp_path, 2)
    assert lease.ports == expected
    assert peek_ports(tmp_path, 2) != expected
    lease.close()
    lease.close()
    assert peek_ports(tmp_path, 2) == expected


def test_peek_writes_nothing(tmp_path: Path) -> None:
    peek_ports(tmp_path / "locks", 2)
    assert not (tmp_path / "locks").exists()


def test_many_threads_never_share(tmp_path: Path) -> None:
    leases = []
    threads = [
        threading.Thread(target=lambda: leases.append(lease_ports(tmp_path, 3))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    every = [port for lease in leases for port in lease.ports]
    for lease in leases:
        lease.close()
    assert len(every) == len(set(every)) == 24


@pytest.mark.parametrize("home", ["same", "other"])
def test_processes_never_share_and_death_releases(tmp_path: Path, home: str) -> None:
    """Also those of two homes: they have other lock files but the same ports."""
    with lease_elsewhere(tmp_path / "same") as (process, theirs):
        assert len(theirs) == 4
        leases = [lease_ports(tmp_path / home, 4) for _ in range(3)]
        assert not set(theirs) & {port for lease in leases for port in lease.ports}
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_S)
        for lease in leases:
            lease.close()
        assert peek_ports(tmp_path / "same", 4) == theirs


def test_claim_of_another_home_is_respected(tmp_path: Path) -> None:
    first = peek_ports(tmp_path, 1)[0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
        claim.bind(f"\0warmup-ci-ports-{first}")
        with lease_ports(tmp_path, 1) as lease:
            assert lease.port != first


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("reuse_port", [False, True])
@pytest.mark.parametrize("offset", [0, 233])
def test_block_in_use_is_passed_over(
    tmp_path: Path, family: socket.AddressFamily, reuse_port: bool, offset: int
) -> None:
    first = peek_ports(tmp_path, 1)[0]
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family) as foreign:
        if reuse_port:
            foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        foreign.bind((host, first + offset))
        foreign.listen()
        with lease_ports(tmp_path, 1) as lease:
            assert lease.port != first


def test_a_started_program_does_not_keep_the_lock(tmp_path: Path) -> None:
    lease = lease_ports(tmp_path, 1)
    with subprocess.Popen(["sleep", "600"], close_fds=False) as child:
        lease.close()
        try:
            with lease_ports(tmp_path, 1) as again:
                assert again.port == lease.port
        finally:
            child.kill()


def test_no_block_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lease_ports(tmp_path, 1) as lease:  # whichever other processes leave to us
        monkeypatch.setattr(ports, "_list_blocks", lambda locks: [lease.port])
        with pytest.raises(HostError, match="no free ports"):
            lease_ports(tmp_path, 1)


def test_a_block_where_connections_linger_is_the_last_resort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end that closes first keeps its port for a minute: eighty servers, and none was left."""
    with lease_ports(tmp_path, 1) as lease:
        base = lease.port
    with socket.create_server(("127.0.0.1", base)) as listener:
        with socket.create_connection(("127.0.0.1", base)) as client:
            listener.accept()[0].close()
            client.recv(1)
        assert not ports._is_free(base, True)
    assert not ports._is_free(base)
    monkeypatch.setattr(ports, "_list_blocks", lambda locks: [base])
    with lease_ports(tmp_path, 1) as lease:
        assert lease.port == base


def test_filesystem_without_locks_is_an_error_and_no_weaker_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(HostError, match="file locks do not work"):
        lease_ports(tmp_path, 1)


def test_lock_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="ports cannot be locked"):
        lease_ports(tmp_path / "file" / "locks", 1)


@pytest.mark.parametrize("count", [0, -1, 65])
def test_impossible_counts(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match="1 to 64 ports"):
        lease_ports(tmp_path, count)


@pytest.mark.parametrize(
    ("text", "first"),
    [("32768 60999", 10_000), ("1024 60999", 61_000), ("1024 65535", 10_000), ("junk", 10_000)],
)
def test_blocks_lie_below_the_ephemeral_range_if_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, first: int
) -> None:
    path = tmp_path / "range"
    path.write_text(text)
    monkeypatch.setattr(ports, "_EPHEMERAL", path)
    blocks = ports._list_blocks(tmp_path)
    assert min(blocks) == first
    assert max(blocks) + ports._BLOCK_PORTS - 1 <= 65_535

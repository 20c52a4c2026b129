from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.supervise.toys import DEADLINE_S, wait_for
from warmup.supervise.tree import proc
from warmup.supervise.watch import workers as worker_watch
from warmup.supervise.watch.workers import WorkerWatch

SLEEP = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]


class OwnTree:
    """This process as a leader; what it starts are its workers. Nothing is reaped unless asked."""

    leader_pid = os.getpid()

    def __init__(self) -> None:
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        self.workers.append(subprocess.Popen(argv or SLEEP))
        return self.workers[-1]

    def find_exit(self) -> None:
        return None

    def list_pids(self) -> list[int]:
        alive = [worker.pid for worker in self.workers if not has_ended(worker.pid)]
        return [self.leader_pid, *alive]


def has_ended(pid: int) -> bool:
    """A zombie, or reaped already; asks without reaping."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def reap_strangers() -> None:
    """Zombies that came to this process, a subreaper, from a test that failed: not our workers."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@contextmanager
def watch_tree() -> Iterator[tuple[OwnTree, WorkerWatch]]:
    reap_strangers()
    tree = OwnTree()
    try:
        with WorkerWatch(tree) as watch:
            yield tree, watch
    finally:
        for worker in tree.workers:
            worker.kill()
            worker.wait(DEADLINE_S)


def poll_until_found(watch: WorkerWatch) -> str:
    found: list[str] = []

    def is_found() -> bool:
        fault = watch.poll()
        found.extend([str(fault)] if fault else [])
        return bool(fault)

    wait_for(is_found, "no dead worker was found")
    return found[0]


def poll_for(watch: WorkerWatch, seconds: float) -> str | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        fault = watch.poll(scan=True)
        if fault is not None:
            return str(fault)
        time.sleep(0.05)
    return None


def test_living_workers_are_no_fault() -> None:
    with watch_tree() as (tree, watch):
        tree.start()
        assert watch.poll(scan=True) is None
        assert not watch.has_suspects


def test_killed_worker_that_nobody_reaps() -> None:
    with watch_tree() as (tree, watch):
        worker = tree.start()
        # for a moment after exec a process has no command line
        wait_for(lambda: "sleep" in proc.get_command(worker.pid), "the worker has no name")
        assert watch.poll(scan=True) is None
        os.kill(worker.pid, signal.SIGSEGV)
        assert poll_until_found(watch) == (
            f"worker pid {worker.pid} ({' '.join(SLEEP)}) was killed by SIGSEGV"
        )


def test_a_killed_worker_is_called_what_it_calls_itself_now() -> None:
    """setproctitle: `sglang::scheduler_TP0` and not the `python3 -m …` that it began as."""
    code = (
        "import setproctitle as s, time; s.setproctitle('sglang::scheduler_TP0'); time.sleep(600)"
    )
    with watch_tree() as (tree, watch):
        worker = tree.start(sys.executable, "-c", code)
        wait_for(lambda: proc.get_command(worker.pid), "the worker has no name")
        assert watch.poll(scan=True) is None  # held, perhaps under its first name
        wait_for(lambda: proc.get_command(worker.pid).startswith("sglang"), "it has no title")
        assert watch.poll(scan=True) is None
        worker.kill()
        assert poll_until_found(watch) == (
            f"worker pid {worker.pid} (sglang::scheduler_TP0) was killed by SIGKILL"
        )


def test_a_resource_tracker_is_no_worker() -> None:
    """sglang kills it before it tells what failed; nothing that answers is gone with it."""
    code = "from multiprocessing.resource_tracker import main;main(0)"
    with watch_tree() as (tree, watch):
        tracker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
        tree.workers.append(tracker)
        wait_for(lambda: proc.is_resource_tracker(tracker.pid), "it has no command line")
        assert watch.poll(scan=True) is None
        tracker.kill()
        wait_for(lambda: has_ended(tracker.pid), "it lives")
        assert poll_for(watch, 0.3) is None
        assert tracker.stdin is not None
        tracker.stdin.close()


def test_interpreter_without_pidfd_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """uv's Python is built against old kernel headers and lacks it; the kernel does not."""
    monkeypatch.delattr(os, "pidfd_open")
    with watch_tree() as (tree, watch):
        worker = tree.start()
        assert watch.poll(scan=True) is None
        assert worker.pid in watch._held
        worker.kill()
        assert poll_until_found(watch).endswith("was killed by SIGKILL")


def test_worker_that_died_before_it_was_ever_seen() -> None:
    with watch_tree() as (tree, watch):
        worker = tree.start()
        worker.send_signal(signal.SIGKILL)
        wait_for(lambda: has_ended(worker.pid), "the worker lives")
        fault = str(watch.poll())
        assert fault.startswith(f"worker pid {worker.pid} (")
        assert fault.endswith("was killed by SIGKILL")


def test_killed_worker_that_its_parent_reaped_at_once() -> None:
    with watch_tree() as (tree, watch):
        worker = tree.start()
        assert watch.poll(scan=True) is None
        pidfd = watch._held[worker.pid]
        worker.kill()
        worker.wait(DEADLINE_S)
        if worker_watch._find_exit_status(pidfd) is None:
            pytest.skip("this kernel does not keep the status of reaped processes (< 6.15)")
        assert poll_until_found(watch).endswith("was killed by SIGKILL")


def test_failed_worker_counts_once_nobody_collects_it() -> None:
    with watch_tree() as (tree, watch):
        worker = tree.start(sys.executable, "-I", "-S", "-c", "raise SystemExit(3)")
        wait_for(lambda: has_ended(worker.pid), "the worker lives")
        assert watch.poll(scan=True) is None
        assert watch.has_suspects
        fault = poll_for(watch, DEADLINE_S)
        assert fault is not None
        assert fault.endswith("exited with status 3")


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "import os; os.kill(os.getpid(), 15)"])
def test_failed_compiler_that_is_collected_is_no_fault(code: str) -> None:
    with watch_tree() as (tree, watch):
        worker = tree.start(sys.executable, "-I", "-S", "-c", code)
        watch.poll(scan=True)
        worker.wait(DEADLINE_S)
        assert poll_for(watch, 1.3) is None
        assert not watch.has_suspects


def test_finished_worker_is_no_fault_even_as_a_zombie() -> None:
    with watch_tree() as (tree, watch):
        worker = tree.start(sys.executable, "-I", "-S", "-c", "pass")
        wait_for(lambda: has_ended(worker.pid), "the worker lives")
        assert poll_for(watch, 1.3) is None


def test_number_of_descriptors_is_bounded_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_watch, "_MAX_HELD", 2)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with watch_tree() as (tree, watch):
        for _ in range(4):
            tree.start()
        assert watch.poll(scan=True) is None
        assert len(watch._held) == 2
        for worker in tree.workers:  # also those that no descriptor was left for
            worker.kill()
        assert "was killed by SIGKILL" in poll_until_found(watch)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208

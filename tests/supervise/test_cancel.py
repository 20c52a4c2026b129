"""What GitHub's runner does to a step, and what a shell between us and it makes of that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.supervise.trees import (
    ROOT,
    end,
    get_leader_pid,
    list_bearers,
    reap_orphans,
    spawn_nasty_run,
    wait_until,
    wait_until_gone,
)
from warmup.supervise.cancel import CancelWatch
from warmup.supervise.tree import proc

# A step's shell that does not `exec` its last command: it has something left to do.
_BASH = ("bash", "-c", '"$@"; status=$?; echo "$status" > status; exit "$status"', "bash")


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_run_and_all_of_its_processes(
    tmp_path: Path, signum: signal.Signals, status: int
) -> None:
    run_dir, orchestrator = spawn_nasty_run(tmp_path)
    orchestrator.send_signal(signum)
    assert end(orchestrator) == status
    assert list_bearers(run_dir) == []


def test_a_second_signal_breaks_no_stop(tmp_path: Path) -> None:
    run_dir, orchestrator = spawn_nasty_run(tmp_path, grace_s=600)
    orchestrator.send_signal(signal.SIGINT)
    # of several at once the kernel and Python choose the order; the stop has begun when it is gone
    wait_until(lambda: not proc.is_living(get_leader_pid(run_dir)))
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        orchestrator.send_signal(signum)
    assert end(orchestrator) == 130
    assert list_bearers(run_dir) == []


@pytest.mark.slow
@pytest.mark.parametrize("root", [(), _BASH], ids=["exec", "bash"])
def test_the_runners_cancellation_is_survived_by_nobody(
    tmp_path: Path, root: tuple[str, ...]
) -> None:
    """SIGINT, 7.5 s, SIGTERM, 2.5 s, SIGKILL, to the step's root process only, as it does it."""
    run_dir, process = spawn_nasty_run(tmp_path, grace_s=600, root=root)
    for signum, wait_s in ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5), (signal.SIGKILL, 0)):
        if process.poll() is None:
            process.send_signal(signum)
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue
    if not root:
        assert end(process) == 130  # in time, so it was its own end
    end(process)
    wait_until_gone(run_dir)
    reap_orphans()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_the_death_of_a_shell_that_did_not_exec_ends_the_run(
    tmp_path: Path, signum: signal.Signals
) -> None:
    run_dir, shell = spawn_nasty_run(tmp_path, root=_BASH)
    shell.send_signal(signum)
    assert end(shell) == -signum
    wait_until_gone(run_dir)
    reap_orphans()


def test_the_parents_death_is_told_once_and_kept() -> None:
    """In a child whose parent exits: the reason stays, the wake-up does not."""
    result, result_end = os.pipe()
    parent = os.fork()
    if parent == 0:
        ready, ready_end = os.pipe()
        if os.fork() == 0:
            status = b"raised"
            try:
                status = watch_parent(ready_end)
            finally:
                os.write(result_end, status)
                os._exit(0)
        os.read(ready, 1)
        os._exit(0)
    os.close(result_end)
    os.waitpid(parent, 0)
    assert os.read(result, 4096) == b"the death of its parent 15, 2 fds, then 1"
    os.close(result)


def watch_parent(ready_end: int) -> bytes:
    import select

    watch = CancelWatch()
    watch.open()
    num_before = len(watch.fds)
    assert watch.find_reason() is None
    os.write(ready_end, b"x")
    poll = select.poll()
    for fd in watch.fds:
        poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + 30
    while (reason := watch.find_reason()) is None and time.monotonic() < deadline:
        poll.poll(1000)
        watch.drain()
    assert reason is not None
    watch.drain()
    num_after = len(watch.fds)
    watch.close()
    why = reason.what.removeprefix("cancelled by ")
    return f"{why} {int(reason.signum)}, {num_before} fds, then {num_after}".encode()


def test_nohup_is_kept(tmp_path: Path) -> None:
    script = (
        "import os, signal\n"
        "from warmup.supervise.cancel import CancelWatch\n"
        "watch = CancelWatch(); watch.open()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "print(watch.find_reason())\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "print(watch.find_reason())\n"
    )
    argv = ["bash", "-c", 'trap "" HUP; exec "$@"', "bash", sys.executable, "-c", script]
    result = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert result.stdout == "None\ncancelled by SIGINT\n", result.stderr

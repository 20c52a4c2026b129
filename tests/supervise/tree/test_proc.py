from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.supervise.trees import DEADLINE_S, wait_until
from warmup.supervise.tree import proc


def test_a_name_with_parentheses_and_spaces_does_not_shift_the_fields() -> None:
    script = "import ctypes; ctypes.CDLL(None).prctl(15, b') S 1 (', 0, 0, 0); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        stat = proc.find_stat(process.pid)
        process.communicate(b"\n", timeout=DEADLINE_S)
    assert stat is not None
    assert stat.ppid == os.getpid()
    assert stat.start > 0
    assert not stat.has_ended


def test_a_zombie_has_ended() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    stat = proc.find_stat(process.pid)
    assert stat is not None
    assert stat.has_ended
    assert not proc.is_living(process.pid)
    process.wait(DEADLINE_S)
    assert proc.find_stat(process.pid) is None
    assert not proc.is_living(process.pid)


def test_a_process_whose_first_thread_ended_lives() -> None:
    script = (
        "import ctypes, platform, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "number = 60 if platform.machine() == 'x86_64' else 93\n"
        "print(flush=True); ctypes.CDLL(None).syscall(number, 0)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:

        def is_headless() -> bool:
            stat = proc.find_stat(process.pid)
            return stat is not None and stat.state == "Z"

        wait_until(is_headless)
        assert proc.is_living(process.pid)
        process.kill()
        process.wait(DEADLINE_S)
    assert not proc.is_living(process.pid)


@pytest.mark.parametrize("has_list", [True, False])
def test_children_are_listed_with_and_without_the_kernels_list(
    monkeypatch: pytest.MonkeyPatch, has_list: bool
) -> None:
    find_text = proc.find_text
    if not has_list:  # CONFIG_PROC_CHILDREN is off
        monkeypatch.setattr(
            proc, "find_text", lambda path: None if "children" in path else find_text(path)
        )
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        assert process.pid in proc.list_children(os.getpid())
        assert os.getpid() not in proc.list_children(os.getpid())
        process.kill()


def test_a_command_is_one_printable_line() -> None:
    with subprocess.Popen(["sh", "-c", "read x; : \n\x1b[31m" + "y" * 500], stdin=-1) as process:
        wait_until(lambda: "read" in proc.get_command(process.pid))
        command = proc.get_command(process.pid)
        process.communicate(b"\n", timeout=DEADLINE_S)
    assert command.startswith("sh -c read x; : ??[31my")
    assert len(command) == 120


def test_what_has_no_command_line_goes_by_its_name() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert proc.describe(process.pid) == f"pid {process.pid} ([true]), state Z"
    process.wait(DEADLINE_S)
    assert proc.describe(process.pid) == f"pid {process.pid} ([?]), gone"


def test_the_resource_tracker_of_this_python_is_known() -> None:
    script = (
        "from multiprocessing import resource_tracker as r; r.ensure_running(); "
        "print(r._resource_tracker._pid, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        wait_until(lambda: proc.is_resource_tracker(pid))
        assert not proc.is_resource_tracker(process.pid)
        process.communicate(b"\n", timeout=DEADLINE_S)
    wait_until(lambda: not proc.is_living(pid))


def test_the_youngest_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as youngest:
        assert {1, os.getpid(), youngest.pid} <= set(proc.iterate_youngest_first())
    monkeypatch.setattr(proc, "list_pids", lambda: [1, 40, 50, 300, 32000])
    monkeypatch.setattr(proc, "find_text", lambda path: b"0.1 0.2 0.3 1/99 50\n")
    found = list(proc.iterate_youngest_first())
    assert found[:32] == list(range(50, 18, -1))
    assert found[32:] == [50, 40, 1, 32000, 300]


def test_only_numbers_are_pids() -> None:
    pids = proc.list_pids()
    assert os.getpid() in pids
    assert 1 in pids
    assert pids == sorted(pids)

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.supervise.trees import (
    DEADLINE_S,
    get_toy,
    is_locked,
    list_bearers,
    read_ledger,
    reap_orphans,
    start,
    start_nasty,
    wait_until,
)
from warmup.supervise.tree import kernel, ledger, proc
from warmup.supervise.tree.supervisor import Supervisor, find_missing_guarantees
from warmup.words.errors import Cancelled, HostError, WarmupError


def refuse(text: str) -> None:
    raise AssertionError(f"unexpected warning: {text}")


def list_fds(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())


def make_supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(tmp_path / "runs" / "r1", warn=refuse)


def test_this_host_gives_every_guarantee() -> None:
    assert find_missing_guarantees() == []


def test_a_server_gets_its_environment_its_folder_and_a_log(tmp_path: Path) -> None:
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    log = tmp_path / "server.log"
    script = "env; pwd; cat; echo wrong >&2"
    with make_supervisor(tmp_path) as supervisor:
        env = {"PATH": os.environ["PATH"], "A": "ü b\n\udcff", "RUNNER_TRACKING_ID": "github_1"}
        server = supervisor.start(["sh", "-c", script], env=env, cwd=cwd, log_path=log)
        wait_until(lambda: str(server.find_exit()) == "exited with status 0")
    text = log.read_bytes()
    assert b"A=\xc3\xbc b\n\xff\n" in text
    assert text.endswith(f"\n{cwd}\nwrong\n".encode())
    assert b"\nRUNNER_TRACKING_ID=github_1\n" in text
    assert b"\nSPT_NOENV=1\n" in text


def test_a_log_file_is_private_and_appended_to(tmp_path: Path) -> None:
    with make_supervisor(tmp_path) as supervisor:
        server = start(supervisor, tmp_path, ["sleep", "60"])
        assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600
        flags = Path(f"/proc/{server.leader_pid}/fdinfo/1").read_text().split("flags:\t")[1]
        assert int(flags.split()[0], 8) & os.O_APPEND


def test_a_leader_has_three_descriptors_and_default_signals(tmp_path: Path) -> None:
    # A socket passed on by mistake is a pipe that never ends, a port that stays taken.
    with make_supervisor(tmp_path) as supervisor:
        server = start(supervisor, tmp_path, ["sleep", "60"])
        # The loader of a program that has just been executed holds a library open for a moment.
        until = time.monotonic() + 10
        while (found := sorted(path.name for path in list_fds(server.leader_pid))) != [*"012"]:
            assert time.monotonic() < until, found
            time.sleep(0.01)
        status = Path(f"/proc/{server.leader_pid}/status").read_text()
        masks = {
            # 32 and 33 are the C library's own: nobody can reset what a caller made of them.
            name: int(rest.strip(), 16) & ~(0b11 << 31)
            for name, _, rest in (line.partition(":") for line in status.splitlines())
            if name in ("SigBlk", "SigIgn", "SigCgt")
        }
        assert masks == {"SigBlk": 0, "SigIgn": 0, "SigCgt": 0}
        assert os.getsid(server.leader_pid) == server.leader_pid


def test_the_shim_holds_neither_our_output_nor_the_runners_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The runner waits for the step's pipe to close, and kills whatever carries its mark.
    monkeypatch.setenv("RUNNER_TRACKING_ID", "github_1")
    own = {Path(f"/proc/self/fd/{fd}").readlink() for fd in (1, 2)}
    with make_supervisor(tmp_path) as supervisor:
        server = start(supervisor, tmp_path, ["sleep", "60"])
        held = {path.readlink() for path in list_fds(server.shim_pid)}
        environ = Path(f"/proc/{server.shim_pid}/environ").read_bytes()
        assert b"RUNNER_TRACKING_ID" in Path(f"/proc/{server.leader_pid}/environ").read_bytes()
    assert tmp_path / "log" in held
    assert not held & (own - {Path("/dev/null")})
    assert b"RUNNER_TRACKING_ID" not in environ


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["no-such-command"], "cannot start no-such-command: command not found"),
        (["/no/such/file"], "cannot start /no/such/file: no such file"),
        (["./plain"], "cannot start ./plain: not executable"),
        (["./garbage"], "cannot start ./garbage: neither a program nor a script"),
        (["./lost"], "cannot start ./lost: its interpreter was not found"),
        (["sh", "\0"], "cannot start 'sh': argument 1 holds a NUL character"),
        (["sh", "x" * 200_000], "cannot start sh: Argument list too long"),
        ([], "cannot start the server: the command is empty"),
    ],
)
def test_a_command_that_cannot_be_executed_is_known_at_once(
    tmp_path: Path, argv: list[str], reason: str
) -> None:
    for name, text, mode in (("plain", "", 0o600), ("garbage", "x", 0o700)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    (tmp_path / "lost").write_text("#!/no/such/shell\n")
    (tmp_path / "lost").chmod(0o700)
    with make_supervisor(tmp_path) as supervisor:
        with pytest.raises(WarmupError) as caught:
            start(supervisor, tmp_path, argv)
        assert caught.value.reason == reason
        assert list_bearers(tmp_path / "runs" / "r1") == []
        # and the next one starts all the same
        assert start(supervisor, tmp_path, ["sleep", "60"]).find_exit() is None


def test_a_missing_command_shows_the_path_that_was_searched(tmp_path: Path) -> None:
    with make_supervisor(tmp_path) as supervisor, pytest.raises(WarmupError) as caught:
        supervisor.start(["sh"], env={"PATH": "/nowhere"}, cwd=tmp_path, log_path=tmp_path / "log")
    assert "PATH is /nowhere" in (caught.value.hint or "")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with make_supervisor(tmp_path) as supervisor, pytest.raises(WarmupError) as caught:
        supervisor.start(["sh"], env={}, cwd=tmp_path / "no", log_path=tmp_path / "log")
    assert caught.value.cause == f"cannot enter its folder {tmp_path}/no: No such file or directory"


@pytest.mark.parametrize("env", [{"A=B": "c"}, {"": "c"}, {"A": "b\0c"}, {"A\0": "b"}])
def test_an_impossible_environment_is_refused(tmp_path: Path, env: dict[str, str]) -> None:
    with make_supervisor(tmp_path) as supervisor, pytest.raises(WarmupError, match="cannot start"):
        supervisor.start(["sh"], env=env, cwd=tmp_path, log_path=tmp_path / "log")


def test_a_log_that_cannot_be_opened_is_the_hosts_fault(tmp_path: Path) -> None:
    with make_supervisor(tmp_path) as supervisor, pytest.raises(HostError) as caught:
        supervisor.start(["sh"], env={}, cwd=tmp_path, log_path=tmp_path / "no" / "log")
    assert caught.value.cause == "No such file or directory"


def test_a_run_folder_that_cannot_be_made_is_the_hosts_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(HostError), Supervisor(tmp_path / "file" / "r1", warn=refuse):
        raise AssertionError("entered")
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_run_folder_in_use_is_refused(tmp_path: Path) -> None:
    with (
        make_supervisor(tmp_path),
        pytest.raises(HostError, match="another process"),
        make_supervisor(tmp_path),
    ):
        raise AssertionError("entered")


def test_the_ledger_is_there_before_anything_starts(tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "r1"
    with make_supervisor(tmp_path) as supervisor:
        empty = read_ledger(run_dir)
        assert (empty.run_id, empty.servers, empty.finished) == ("r1", (), False)
        server = start(supervisor, tmp_path, ["sleep", "60"])
        (entry,) = read_ledger(run_dir).servers
        assert entry.leader == ledger.get_process(server.leader_pid)
        assert entry.shim == ledger.get_process(server.shim_pid)
        assert is_locked(run_dir)
    assert read_ledger(run_dir).finished
    assert not is_locked(run_dir)


def test_a_ledger_that_can_no_longer_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    run_dir = tmp_path / "runs" / "r1"
    with Supervisor(run_dir, warn=said.append) as supervisor:
        shutil.rmtree(run_dir)
        server = start(supervisor, tmp_path, ["sleep", "60"])
        assert said
        assert server.stop(5).survivors == ()


def test_leaving_ends_what_was_not_stopped(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), make_supervisor(tmp_path) as supervisor:
        server, pids = start_nasty(supervisor, tmp_path, "deaf", "all")
        raise ZeroDivisionError
    assert not any(proc.is_living(pid) for pid in (server.leader_pid, *pids))


def test_leaving_gives_back_handlers_and_the_subreaper_flag(tmp_path: Path) -> None:
    signums = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    before = [signal.getsignal(signum) for signum in signums], kernel.is_subreaper()
    num_fds = len(list_fds(os.getpid()))
    with make_supervisor(tmp_path) as supervisor:
        assert kernel.is_subreaper()
        start(supervisor, tmp_path, ["sleep", "60"])
    assert ([signal.getsignal(signum) for signum in signums], kernel.is_subreaper()) == before
    assert len(list_fds(os.getpid())) == num_fds


def test_wait_sleeps_until_the_leader_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with make_supervisor(tmp_path) as supervisor:
        server = start(supervisor, tmp_path, ["sh", "-c", "read line < pipe; exit 7"])
        began = time.monotonic()
        supervisor.wait(0)
        writer = subprocess.Popen(["sh", "-c", "echo > pipe"], cwd=tmp_path)
        while server.find_exit() is None:
            supervisor.wait(DEADLINE_S)  # also ends with SIGCHLD of the writer
            assert time.monotonic() < began + DEADLINE_S
        assert writer.wait(DEADLINE_S) == 0  # its status was not stolen
        assert str(server.find_exit()) == "exited with status 7"


def test_wait_returns_early_once_per_signal(tmp_path: Path) -> None:
    with make_supervisor(tmp_path) as supervisor:
        supervisor.wait(0)
        supervisor.check_cancelled()
        os.kill(os.getpid(), signal.SIGTERM)
        began = time.monotonic()
        supervisor.wait(DEADLINE_S)
        assert time.monotonic() < began + DEADLINE_S / 2
        with pytest.raises(Cancelled, match="cancelled by SIGTERM") as caught:
            supervisor.check_cancelled()
        assert (caught.value.signum, caught.value.exit_status) == (signal.SIGTERM, 143)
        # The loops that clear up sleep by `wait` as well: a cancelled one still has to.
        wait_until(lambda: is_slept_through(supervisor))  # but for a stray SIGCHLD
        with pytest.raises(Cancelled, match="SIGTERM"):
            supervisor.check_cancelled()


def is_slept_through(supervisor: Supervisor) -> bool:
    began = time.monotonic()
    supervisor.wait(0.05)
    return time.monotonic() >= began + 0.04


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_each_signal_has_its_exit_status(
    tmp_path: Path, signum: signal.Signals, status: int
) -> None:
    with make_supervisor(tmp_path) as supervisor:
        os.kill(os.getpid(), signum)
        with pytest.raises(Cancelled, match=signum.name) as caught:
            supervisor.check_cancelled()
        assert caught.value.exit_status == status


def test_start_is_cancelled_too(tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "r1"
    with make_supervisor(tmp_path) as supervisor:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Cancelled):
            start(supervisor, tmp_path, ["sleep", "60"])
        assert list_bearers(run_dir) == []


def test_a_cancelled_stop_cuts_its_grace_short(tmp_path: Path) -> None:
    with make_supervisor(tmp_path) as supervisor:
        server = start(
            supervisor, tmp_path, ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
        )
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        report = server.stop(10 * DEADLINE_S)
        assert report.seconds < DEADLINE_S
        assert server.list_pids() == []


def test_two_servers_are_told_apart(tmp_path: Path) -> None:
    with make_supervisor(tmp_path) as supervisor:
        first = start(supervisor, tmp_path, ["sleep", "60"])
        second = start(supervisor, tmp_path, ["sleep", "61"])
        assert first.list_pids() == [first.leader_pid]
        assert second.list_pids() == [second.leader_pid]
        assert first.stop(5).survivors == ()
        assert second.find_exit() is None
        assert second.list_pids() == [second.leader_pid]


def test_a_popen_beside_us_keeps_its_status(tmp_path: Path) -> None:
    # waitpid(-1) would take it, and an exit status of 7 would read as 0.
    said: list[str] = []
    with Supervisor(tmp_path / "runs" / "r1", warn=said.append) as supervisor:
        server, _ = start_nasty(supervisor, tmp_path, "all")
        other = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        os.kill(server.shim_pid, signal.SIGKILL)
        server.stop(0)
        assert other.wait(DEADLINE_S) == 7
    assert len(said) == 1
    reap_orphans()


def test_a_toy_without_supervision_would_stay(tmp_path: Path) -> None:
    """That the nasty workers really get away from what is usually done: kill the process group."""
    folder = tmp_path / "ready"
    folder.mkdir()
    leader = subprocess.Popen(get_toy("tree_nasty", folder, "all"), start_new_session=True)
    wait_until((folder / "all").exists)
    worker = int((folder / "all").read_text())
    os.killpg(leader.pid, signal.SIGKILL)
    leader.wait(DEADLINE_S)
    try:
        assert proc.is_living(worker)
    finally:
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not proc.is_living(worker))
        with contextlib.suppress(ChildProcessError):  # ours only where pytest is a subreaper
            os.waitpid(worker, 0)

"""`warmup-ci exec` around real commands, on pipes and on a real terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.program import call, get_env
from tests.supervise.trees import list_bearers
from warmup.supervise.tree import proc

PYTHON = sys.executable
WAIT_S = 60.0
# A worker that leaves its parent, ignores every signal that it can, and keeps the streams open.
DAEMON = """
import os, signal, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(signum, signal.SIG_IGN)
with open(sys.argv[1] + ".tmp", "w") as file: file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".tmp", sys.argv[1])
time.sleep(600)
"""


def wait_until(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def begin(folder: Path, *args: str, **words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [PYTHON, "-m", "warmup", "exec", *args],
        cwd=folder,
        env=get_env(folder),
        text=True,
        **words,
    )


def has_no_run(folder: Path) -> bool:
    return list((folder / "home" / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("command", "status"),
    [(["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -TERM $$"], 143)],
)
def test_the_commands_exit_status_is_ours(tmp_path: Path, command: list[str], status: int) -> None:
    done = call(tmp_path, "exec", "--", *command)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")
    assert has_no_run(tmp_path)


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["exec"], 2, "needs a command"),
        (["exec", "--"], 2, "needs a command"),
        (["exec", "--timeout", "0", "true"], 2, "--timeout"),
        (["exec", "--", ""], 127, "the command is empty"),
        (["exec", "--", "no-such-program"], 127, "command not found"),
        (["exec", "--", "./nothing"], 127, "no such file"),
        (["exec", "--", "./bad-interpreter"], 127, "its interpreter was not found"),
        (["exec", "--", "./plain"], 126, "chmod +x ./plain"),
        (["exec", "--", "./no-program"], 126, "neither a program nor a script"),
        (["exec", "--", "/"], 126, "cannot run /"),
    ],
)
def test_what_cannot_be_run(tmp_path: Path, args: list[str], status: int, words: str) -> None:
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    for name, text in [("bad-interpreter", "#!/no/such/program\n"), ("no-program", "text\n")]:
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    done = call(tmp_path, *args)
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr
    assert done.stdout == ""
    assert status == 2 or has_no_run(tmp_path)


def test_what_the_command_inherits_is_what_we_were_given(tmp_path: Path) -> None:
    """Streams, another descriptor, folder, environment, ignored signals, no descriptor of ours."""
    (tmp_path / "tells.py").write_text(
        "import json, os, signal, sys\n"
        "fds = [f'/proc/self/fd/{n}' for n in os.listdir('/proc/self/fd')]\n"
        "fds = {path[14:]: os.readlink(path) for path in fds if os.path.exists(path)}\n"
        "signals = sorted(signal.valid_signals())\n"
        "ignored = [int(s) for s in signals if signal.getsignal(s) == signal.SIG_IGN]\n"
        "masks = list(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))\n"
        "print(json.dumps([sys.stdin.read(), fds, os.getcwd(), dict(os.environ), ignored, masks,\n"
        "    os.getpgrp(), os.getsid(0)]))\n"
    )
    command = f"{PYTHON} tells.py 3< tells.py"
    outputs = []
    for prefix in ("", f"{PYTHON} -m warmup exec -- "):
        done = subprocess.run(
            ["sh", "-c", f"trap '' HUP; exec {prefix}{command}"],
            cwd=tmp_path, env=get_env(tmp_path), input="in", capture_output=True, text=True,
            timeout=WAIT_S,
        )  # fmt: skip
        assert done.stderr == ""
        outputs.append(json.loads(done.stdout))
    plain, ours = outputs
    for told in (plain, ours):  # each has pipes of its own
        for number in ("0", "1", "2"):
            assert told[1].pop(number).startswith("pipe:")
    assert ours == plain


def test_a_stream_that_was_closed_does_not_become_one_of_ours(tmp_path: Path) -> None:
    line = f"exec {PYTHON} -m warmup exec -- sh -c 'echo out; exit 5' <&- 2>&-"
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=get_env(tmp_path), stdout=subprocess.PIPE, text=True,
        timeout=WAIT_S,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (5, "out\n")


def test_nothing_that_it_starts_survives_it(tmp_path: Path) -> None:
    """The daemon holds the pipe of stdout: its end is what lets us read to the end of file."""
    (tmp_path / "daemon.py").write_text(DAEMON)
    line = f"{PYTHON} daemon.py pid; while ! [ -e pid ]; do sleep 0.05; done; exit 3"
    done = call(tmp_path, "exec", "--", "sh", "-c", line)
    assert done.returncode == 3
    assert not proc.is_living(int((tmp_path / "pid").read_text()))
    assert "left behind were ended: 1" in done.stderr
    assert has_no_run(tmp_path)


def test_a_command_that_daemonizes_ends_with_its_leader(tmp_path: Path) -> None:
    (tmp_path / "daemon.py").write_text(DAEMON)
    done = call(tmp_path, "exec", "--", PYTHON, "daemon.py", "pid")
    assert done.returncode == 0
    if (tmp_path / "pid").exists():
        assert not proc.is_living(int((tmp_path / "pid").read_text()))


def test_helpers_that_finish_what_they_do_are_let_finish(tmp_path: Path) -> None:
    line = "(sleep 0.1; echo late > out) & exit 0"
    done = call(tmp_path, "exec", "--", "sh", "-c", line)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out").read_text() == "late\n"


@pytest.mark.parametrize("victims", ["exec", "exec and shim"])
def test_sigkill_of_exec_ends_the_tree(tmp_path: Path, victims: str) -> None:
    """Where the shim is killed with it, `reap` does."""
    (tmp_path / "daemon.py").write_text(DAEMON)
    line = f"{PYTHON} daemon.py pid; echo $$ > leader.tmp; mv leader.tmp leader; sleep 600"
    program = begin(tmp_path, "--", "sh", "-c", line)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "leader").exists())
    pids = [int((tmp_path / name).read_text()) for name in ("pid", "leader")]
    (run_dir,) = (tmp_path / "home" / "runs").iterdir()
    if victims == "exec and shim":
        (shim,) = proc.list_children(program.pid)
        os.kill(program.pid, signal.SIGSTOP)  # else it clears up while it still lives
        os.kill(shim, signal.SIGKILL)
    program.kill()
    program.wait(WAIT_S)
    if victims == "exec and shim":
        done = call(tmp_path, "reap")
        assert done.returncode == 0, done.stderr
    wait_until(lambda: not any(proc.is_living(pid) for pid in pids))
    wait_until(lambda: not list_bearers(run_dir))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_are_handed_on_once(tmp_path: Path, signum: signal.Signals) -> None:
    script = (
        "import os, signal, time\n"
        "heard = []\n"
        f"signal.signal({int(signum)}, lambda *_: heard.append(os.write(1, b'heard ')))\n"
        "os.close(os.open('up', os.O_CREAT))\n"
        "while not heard: time.sleep(0.01)\n"
        "time.sleep(0.3); raise SystemExit(42)\n"
    )
    (tmp_path / "waits.py").write_text(script)
    program = begin(tmp_path, "--", PYTHON, "waits.py", stdout=subprocess.PIPE)
    wait_until((tmp_path / "up").exists)
    program.send_signal(signum)
    assert program.communicate(timeout=WAIT_S)[0] == "heard "
    assert program.returncode == 42


def test_a_timeout_ends_all_and_is_124(tmp_path: Path) -> None:
    (tmp_path / "daemon.py").write_text(DAEMON)
    line = f"trap 'echo told' TERM; {PYTHON} daemon.py pid; while :; do sleep 0.1; done"
    done = call(tmp_path, "exec", "--timeout", "2", "--", "sh", "-c", line)
    assert done.returncode == 124, done.stderr
    assert done.stdout == "told\n"
    assert "its time was over" in done.stderr
    assert not proc.is_living(int((tmp_path / "pid").read_text()))


def test_the_death_of_our_parent_ends_the_command(tmp_path: Path) -> None:
    """A bash that does not `exec` us passes no signal on, and the runner kills it alone."""
    line = (
        f"{PYTHON} -m warmup exec -- sh -c 'echo $$ > leader.tmp; mv leader.tmp leader; sleep 600'"
    )
    shell = subprocess.Popen(["sh", "-c", f"{line}; :"], cwd=tmp_path, env=get_env(tmp_path))
    wait_until((tmp_path / "leader").exists)
    shell.kill()
    shell.wait(WAIT_S)
    pid = int((tmp_path / "leader").read_text())
    wait_until(lambda: not proc.is_living(pid))
    wait_until(lambda: has_no_run(tmp_path))


# --- a real terminal


class Terminal:
    """A pty with `exec` as its session's leader; what the command says is read until a word."""

    def __init__(self, folder: Path, script: str) -> None:
        (folder / "script.py").write_text(script)
        argv = [PYTHON, "-m", "warmup", "exec", "--", PYTHON, "script.py"]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(PYTHON, argv, get_env(folder))

    def read_until(self, word: bytes) -> bytes:
        text = b""
        while word not in text:
            text += os.read(self.fd, 4096)
        return text

    def wait(self, options: int = 0) -> int:
        return os.waitpid(self.pid, options)[1]


def test_the_terminal_stays_the_commands(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "is_terminal = all(os.isatty(fd) for fd in (0, 1, 2))\n"
        "print(is_terminal, os.tcgetpgrp(0) == os.getpgrp(), flush=True)\n"
        "print('got', input('name? '), flush=True)\n"
        "raise SystemExit(9)\n"
    )
    terminal = Terminal(tmp_path, script)
    assert b"True True" in terminal.read_until(b"name? ")
    os.write(terminal.fd, b"you\n")
    terminal.read_until(b"got you")
    assert os.waitstatus_to_exitcode(terminal.wait()) == 9
    os.close(terminal.fd)


@pytest.mark.parametrize(("key", "signum"), [(b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT)])
def test_a_key_of_the_terminal_reaches_the_command_once(
    tmp_path: Path, key: bytes, signum: signal.Signals
) -> None:
    script = (
        "import signal, time\n"
        "heard = []\n"
        f"signal.signal({int(signum)}, lambda *_: heard.append(1))\n"
        "print('up', flush=True)\n"
        "while not heard: time.sleep(0.01)\n"
        "time.sleep(0.3); print('heard', len(heard), flush=True)\n"
        "raise SystemExit(6)\n"
    )
    terminal = Terminal(tmp_path, script)
    terminal.read_until(b"up")
    os.write(terminal.fd, key)
    assert b"heard 1" in terminal.read_until(b"heard 1")
    assert os.waitstatus_to_exitcode(terminal.wait()) == 6
    os.close(terminal.fd)


def test_ctrl_z_stops_both_and_a_shell_can_go_on(tmp_path: Path) -> None:
    """Under an interactive shell, as a job of its own group."""
    (tmp_path / "script.py").write_text(
        "print('up', flush=True); print('got', input(), flush=True)"
    )
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        env = {**get_env(tmp_path), "PS1": "$ ", "ENV": ""}
        os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], env)
    text = b""

    def read_until(word: bytes) -> None:
        nonlocal text
        while word not in text:
            text += os.read(fd, 4096)
        text = text.partition(word)[2]

    os.write(fd, f"{PYTHON} -m warmup exec -- {PYTHON} script.py\n".encode())
    read_until(b"\r\nup")
    os.write(fd, b"\x1a")
    read_until(b"Stopped")
    os.write(fd, b"fg\n")
    read_until(b"script.py")
    os.write(fd, b"hello\n")
    read_until(b"got hello")
    os.write(fd, b"exit 4\n")
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        try:
            os.read(fd, 4096)
        except OSError:  # the terminal's last user has gone
            os.waitpid(pid, 0)
            break
    os.close(fd)


def test_sigkill_on_a_terminal_ends_the_tree(tmp_path: Path) -> None:
    script = "import os, time\nprint('pid', os.getpid(), 'up', flush=True)\ntime.sleep(600)\n"
    terminal = Terminal(tmp_path, script)
    leader = int(terminal.read_until(b"up").split()[1])
    os.kill(terminal.pid, signal.SIGKILL)
    terminal.wait()
    wait_until(lambda: not proc.is_living(leader))
    os.close(terminal.fd)


def test_it_is_up_before_anything_heavy_could_be(tmp_path: Path) -> None:
    """It stands before every test: no click, no msgspec, no filelock, nothing of models."""
    heavy = (
        "click msgspec filelock psutil requests rich warmup.launch warmup.caches warmup.workflow"
    )
    script = (
        "import atexit, sys\nfrom warmup.start import main\n"
        f"atexit.register(lambda: print(sorted(set(sys.modules) & set({heavy.split()!r}))))\n"
        "sys.argv = ['warmup-ci', 'exec', '--', 'true']\nmain()"
    )
    done = subprocess.run(
        [PYTHON, "-c", script], cwd=tmp_path, env=get_env(tmp_path), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("args", [["--"], ["--", "./missing"], ["--timeout", "60", "--", "true"]])
def test_with_and_without_options_it_is_the_same_command(tmp_path: Path, args: list[str]) -> None:
    """`exec -- CMD` does without click; a variable that click would read brings it back."""
    short = call(tmp_path, "exec", *args)
    long = call(tmp_path, "exec", *args, WARMUP_CI_CACHE_ROOT=str(tmp_path / "caches"))
    assert (short.returncode, short.stderr) == (long.returncode, long.stderr)


def test_a_project_file_moves_its_caches_too(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.warmup-ci]\ncache_root = "own"\n')
    done = call(tmp_path, "exec", "--", "sh", "-c", "echo $TRITON_CACHE_DIR")
    assert done.stdout.startswith(str(tmp_path / "own")), done.stderr

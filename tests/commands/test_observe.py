"""`warmup-ci observe` around real commands; Triton compiles its own kernels, without a GPU."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.commands.program import call, get_env

SERVERS = Path(__file__).parents[1] / "servers"
TRITON = [sys.executable, "-W", "ignore", str(SERVERS / "tree_triton.py")]


def observe(folder: Path, *command: str, status: int = 0) -> dict[str, Any]:
    done = call(folder, "observe", "--json", "out.json", "--", *command)
    assert done.returncode == status, done.stderr
    document: dict[str, Any] = json.loads((folder / "out.json").read_text())
    assert document["exit_code"] == status
    return document


def test_a_compiled_kernel_is_listed_by_name_once(tmp_path: Path) -> None:
    begin = time.time()
    document = observe(tmp_path, *TRITON, "1")
    (entry,) = document["new_entries"]["triton"]
    assert entry["kernel"] == "add_number"
    assert (tmp_path / "triton" / entry["entry"]).is_dir()
    assert begin - 1 <= entry["t"] <= time.time() + 1
    assert observe(tmp_path, *TRITON, "1")["new_entries"] == {}


def test_the_server_that_compiled_is_named(tmp_path: Path) -> None:
    """A launcher that Triton loads is mapped by the process that loaded it."""
    script = (
        "import sys, mmap, pathlib, os, subprocess, time\n"
        "if len(sys.argv) == 1:\n"
        "    sys.exit(subprocess.call([sys.executable, __file__, 'server']))\n"
        "entry = pathlib.Path(os.environ['TRITON_CACHE_DIR'], 'HASH'); entry.mkdir(parents=True)\n"
        "(entry / 'launcher.so').write_bytes(bytes(4096))\n"
        "held = mmap.mmap(os.open(entry / 'launcher.so', os.O_RDONLY), 0, prot=mmap.PROT_READ)\n"
        "time.sleep(1.5)\n"
    )
    (tmp_path / "tests.py").write_text(script)
    (entry,) = observe(tmp_path, sys.executable, "tests.py")["new_entries"]["triton"]
    assert entry["argv"][-1] == "server"


def test_fail_on_miss_fails_what_succeeded_but_compiled(tmp_path: Path) -> None:
    done = call(tmp_path, "observe", "--fail-on-miss", "--", *TRITON, "2")
    assert done.returncode == 1
    assert "add_number" in done.stderr
    assert call(tmp_path, "observe", "--fail-on-miss", "--", *TRITON, "2").returncode == 0


@pytest.mark.parametrize(
    ("command", "status"),
    [(["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137)],
)
def test_the_commands_exit_status_is_ours(tmp_path: Path, command: list[str], status: int) -> None:
    assert observe(tmp_path, *command, status=status)["new_entries"] == {}


def test_stdout_is_left_to_the_command_and_stdin_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "warmup", "observe", "--json", "o.json", "--", "cat"],
        cwd=tmp_path, env=get_env(tmp_path), input="through", capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.stdout == "through"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_handed_on(tmp_path: Path, signum: signal.Signals) -> None:
    script = (
        "import signal, sys, pathlib\n"
        f"signal.signal({int(signum)}, lambda *_: sys.exit(42))\n"
        "pathlib.Path('up').touch()\n"
        "while True: signal.pause()\n"
    )
    (tmp_path / "waits.py").write_text(script)
    program = subprocess.Popen(
        [sys.executable, "-m", "warmup", "observe", "--", sys.executable, "waits.py"],
        cwd=tmp_path,
        env=get_env(tmp_path),
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "up").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    program.send_signal(signum)
    assert program.wait(timeout=30) == 42


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["observe"], 2, "needs a command"),
        (["observe", "--", "no-such-program"], 127, "cannot run no-such-program"),
        (["observe", "--", "/"], 126, "cannot run /"),
        (["observe", "--json", "no/such/out.json", "--", "true"], 2, "cannot write"),
        (["observe", "--json", ".", "--", "true"], 2, "it is a folder"),
    ],
)
def test_bad_input(tmp_path: Path, args: list[str], status: int, words: str) -> None:
    done = call(tmp_path, *args)
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr


# As vllm 0.33.0 and flashinfer 0.7.2 say it.
MONITORED = "WARNING Triton kernel JIT compilation during inference: {}. This causes a spike\\n"
BUILT = "flashinfer.jit: Building JIT module batch_prefill; this can take several minutes\\n"


def say(text: str, *files: str) -> str:
    return f"printf '{text}' >> " + " >> ".join(files)


def test_what_servers_say_in_their_logs_is_a_compile(tmp_path: Path) -> None:
    """Kernels that leave no entry, or leave it where nobody looks."""
    (tmp_path / "logs").mkdir()
    old = tmp_path / "logs" / "old.log"
    old.write_text(BUILT.replace("\\n", "\n"))
    script = f"{say(MONITORED.format('moe_kernel'), 'logs/old.log')}; {say(BUILT, 'logs/new.log')}"
    script += f"; {say(MONITORED.format('moe_kernel'), 'logs/old.log')}"  # of another rank
    done = call(
        tmp_path, "observe", "--json", "o.json", "--log", "logs/*.log", "--", "sh", "-c", script
    )
    document = json.loads((tmp_path / "o.json").read_text())
    assert document["new_entries"] == {}
    assert [
        (each["log"], each["family"], each["kernel"]) for each in document["compile_lines"]
    ] == [
        (str(tmp_path / "logs" / "new.log"), "flashinfer", "batch_prefill"),
        (str(old), "triton", "moe_kernel"),
    ]
    assert "2 by what logs say" in done.stderr and "moe_kernel" in done.stderr
    assert done.returncode == 0


def test_the_commands_own_output_is_read_where_it_is_a_file_and_is_left_as_it_is(
    tmp_path: Path,
) -> None:
    arguments = [sys.executable, "-m", "warmup", "observe", "--fail-on-miss", "--"]
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            [*arguments, "sh", "-c", f"printf '{MONITORED.format('moe_kernel')}'"],
            cwd=tmp_path, env=get_env(tmp_path), stdout=out, stderr=subprocess.PIPE, text=True,
            timeout=60,
        )  # fmt: skip
    assert (tmp_path / "out").read_text() == MONITORED.format("moe_kernel").replace("\\n", "\n")
    assert done.returncode == 1 and "moe_kernel" in done.stderr


def test_a_monitor_is_not_believed_of_a_kernel_that_lay_there_nor_counted_twice(
    tmp_path: Path,
) -> None:
    """Triton tells vLLM's monitor of loads from disk as well; a compile leaves an entry."""
    observe(tmp_path, *TRITON, "3")
    script = f"{say(MONITORED.format('add_number'), 'log')}; mkdir -p triton/NEW; "
    script += f"touch triton/NEW/moe_kernel.cubin; {say(MONITORED.format('moe_kernel'), 'log')}"
    arguments = ["observe", "--json", "o.json", "--log", "log", "--log", "no.log", "--"]
    done = call(tmp_path, *arguments, "sh", "-c", script)
    document = json.loads((tmp_path / "o.json").read_text())
    assert document["compile_lines"] == []
    assert [each["kernel"] for each in document["new_entries"]["triton"]] == ["moe_kernel"]
    assert "no log is called" in done.stderr and "no.log" in done.stderr


def test_options_after_the_command_are_the_commands(tmp_path: Path) -> None:
    done = call(tmp_path, "observe", "echo", "--json", "x")
    assert done.stdout == "--json x\n"
    assert not os.path.lexists(tmp_path / "x")


def test_the_projects_cache_root_is_observed(tmp_path: Path) -> None:
    """The same setting that `run` takes: else what it warmed would be counted as missed."""
    (tmp_path / "pyproject.toml").write_text('[tool.warmup-ci]\ncache_root = "caches"\n')
    script = 'mkdir -p "$TRITON_CACHE_DIR/HASH" && echo code > "$TRITON_CACHE_DIR/HASH/k.so"'
    document = observe(tmp_path, "sh", "-c", script)
    assert list(document["new_entries"]) == ["triton"]
    assert (tmp_path / "caches" / "triton" / "HASH" / "k.so").exists()

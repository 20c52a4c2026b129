"""The composite action's scripts, run under bash with a `warmup-ci` that says what it was told."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.github.actions_yaml import ACTIONS, ROOT, get_step, start_script, write_program

(ACTION,) = ACTIONS
INPUTS = (
    *("MODELS", "WORKFLOW", "PYTHON", "ARGS", "CACHE_ROOT", "HOME", "COMMAND", "REPORT"),
    *("FROM", "TO", "SIGN", "PACKS"),
)
# Its argv, its process and its home, where the test can read them.
RECORD = r"""
printf '%s\0' "$@" > "$RECORD/argv"
printf '%s' "$$" > "$RECORD/pid"
printf '%s' "${WARMUP_CI_HOME-unset}" > "$RECORD/home"
exit "${STATUS:-0}"
"""


def make_environ(tmp_path: Path, inputs: Mapping[str, str]) -> dict[str, str]:
    write_program(tmp_path / "bin", "warmup-ci", RECORD)
    given = {f"INPUT_{name}": inputs.get(name, "") for name in INPUTS}
    return {"PATH": f"{tmp_path / 'bin'}:{os.defpath}", "RECORD": str(tmp_path), **given}


def run_step(tmp_path: Path, name: str, environ: Mapping[str, str]) -> tuple[int, int, str]:
    """Its process, its exit status, its output."""
    child = start_script(get_step(ACTION, name)["run"], tmp_path, environ)
    output, _ = child.communicate(timeout=30)
    return child.pid, child.returncode, output


def get_argv(tmp_path: Path, **inputs: str) -> list[str]:
    environ = make_environ(tmp_path, inputs)
    pid, status, output = run_step(tmp_path, "Warm up", environ)
    assert (status, output) == (0, "")
    assert int((tmp_path / "pid").read_text()) == pid  # exec: bash is gone
    return (tmp_path / "argv").read_text(encoding="utf-8").split("\0")[:-1]


def test_nothing_given_is_nothing_said(tmp_path: Path) -> None:
    assert get_argv(tmp_path) == ["run"]
    assert (tmp_path / "home").read_text() == "unset"


def test_every_input_arrives(tmp_path: Path) -> None:
    argv = get_argv(
        tmp_path,
        MODELS="a/b:8\n  c/d:8,e/f\t./g:1\n",
        WORKFLOW="my workflows/h200.toml",
        PYTHON="/opt/engine/bin/python",
        ARGS="--fail-fast --log-lines 50\n--prove",
        CACHE_ROOT="/cache dir",
        HOME="/home dir",
        REPORT="/report dir",
        FROM="oci://ghcr.io/org/jit",
        TO="dir:/pack dir",
        SIGN="ssh:/key file",
    )
    assert argv == [
        "run",
        "--workflow=my workflows/h200.toml",
        "--python=/opt/engine/bin/python",
        "--cache-root=/cache dir",
        "--report=/report dir",
        *("--from=oci://ghcr.io/org/jit", "--to=dir:/pack dir", "--sign=ssh:/key file"),
        *("--fail-fast", "--log-lines", "50", "--prove"),
        *("--models=a/b:8", "--models=c/d:8,e/f", "--models=./g:1"),
    ]
    assert (tmp_path / "home").read_text() == "/home dir"


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ("$(touch hacked)", ["$(touch", "hacked)"]),
        ("`touch hacked`", ["`touch", "hacked`"]),
        ("a;touch hacked", ["a;touch", "hacked"]),
        ("a && touch hacked || b", ["a", "&&", "touch", "hacked", "||", "b"]),
        ("* ? [a-z]* ~ {a,b}", ["*", "?", "[a-z]*", "~", "{a,b}"]),
        ("\"a b\" 'c' \\d \\", ['"a', 'b"', "'c'", "\\d", "\\"]),
        ("--force -x --", ["--force", "-x", "--"]),
        ("${HOME} $PATH $$", ["${HOME}", "$PATH", "$$"]),
        ("模型/é:1\nb", ["模型/é:1", "b"]),
        (" \n\t\n ", []),
    ],
)
def test_hostile_words_stay_words(tmp_path: Path, models: str, words: list[str]) -> None:
    assert get_argv(tmp_path, MODELS=models) == ["run", *(f"--models={word}" for word in words)]
    assert get_argv(tmp_path, ARGS=models) == ["run", *words]
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    "name", ["WORKFLOW", "PYTHON", "CACHE_ROOT", "REPORT", "FROM", "TO", "SIGN"]
)
def test_hostile_paths_stay_one_argument(tmp_path: Path, name: str) -> None:
    value = "-x $(touch hacked)\n* '\""
    assert get_argv(tmp_path, **{name: value})[1].partition("=")[2] == value
    assert not (tmp_path / "hacked").exists()


def test_its_exit_status_is_the_steps(tmp_path: Path) -> None:
    environ = make_environ(tmp_path, {}) | {"STATUS": "3"}
    assert run_step(tmp_path, "Warm up", environ)[1] == 3


def test_a_cancelled_step_reaches_the_program_and_no_shell(tmp_path: Path) -> None:
    environ = make_environ(tmp_path, {})
    body = "trap 'echo got INT; exit 130' INT\necho ready\nread -r < \"$RECORD/fifo\""
    write_program(tmp_path / "bin", "warmup-ci", body)
    os.mkfifo(tmp_path / "fifo")
    child = start_script(get_step(ACTION, "Warm up")["run"], tmp_path, environ)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=30)
    assert (child.returncode, output) == (130, "got INT\n")


def test_reap_uses_the_same_home(tmp_path: Path) -> None:
    environ = make_environ(tmp_path, {"HOME": "/home dir"})
    assert run_step(tmp_path, "End what was left behind", environ)[1] == 0
    assert (tmp_path / "argv").read_text() == "reap\0"
    assert (tmp_path / "home").read_text() == "/home dir"


def test_reap_without_a_program_is_no_second_failure(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path / "bin"), "INPUT_HOME": ""}
    write_program(tmp_path / "bin", "unrelated", "")
    script = get_step(ACTION, "End what was left behind")["run"]
    (tmp_path / "bin" / "bash").symlink_to(shutil.which("bash") or "/bin/bash")
    child = start_script(script, tmp_path, environ)
    assert child.communicate(timeout=30)[0] == ""
    assert child.returncode == 0


def test_what_is_installed_stays(tmp_path: Path) -> None:
    environ = make_environ(tmp_path, {})
    write_program(tmp_path / "bin", "python3", 'echo installed > "$RECORD/installed"')
    run_step(tmp_path, "Install warmup-ci", environ)
    assert not (tmp_path / "installed").exists()


@pytest.mark.parametrize(("packs", "extras"), [("", ""), ("oci://a/b", "[packs,sigstore]")])
def test_this_repository_is_what_gets_installed(tmp_path: Path, packs: str, extras: str) -> None:
    write_program(tmp_path / "bin", "python3", 'printf "%s\\0" "$@" > "$RECORD/pip"')
    environ = {
        "PATH": str(tmp_path / "bin"),
        "RECORD": str(tmp_path),
        "GITHUB_ACTION_PATH": str(ACTION.parent),
        "INPUT_PACKS": packs,
    }
    (tmp_path / "bin" / "bash").symlink_to(shutil.which("bash") or "/bin/bash")
    assert run_step(tmp_path, "Install warmup-ci", environ)[1] == 0
    argv = (tmp_path / "pip").read_text().split("\0")[:-1]
    assert argv[:3] == ["-m", "pip", "install"]
    assert argv[-1].endswith(extras)
    assert Path(argv[-1].removesuffix(extras)).resolve() == ROOT


def test_the_command_runs_under_exec_as_it_was_given(tmp_path: Path) -> None:
    command = 'echo "$HOME" | cat; exit 3\n# it\'s all one word'
    inputs = {"COMMAND": command, "CACHE_ROOT": "/cache dir", "HOME": "/home dir"}
    environ = make_environ(tmp_path, inputs) | {"STATUS": "3"}
    pid, status, output = run_step(tmp_path, "Run the command", environ)
    assert (status, output) == (3, "")
    assert int((tmp_path / "pid").read_text()) == pid  # exec: bash is gone
    assert (tmp_path / "argv").read_text().split("\0")[:-1] == [
        *("exec", "--cache-root=/cache dir", "--"),
        *("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command),
    ]
    assert (tmp_path / "home").read_text() == "/home dir"

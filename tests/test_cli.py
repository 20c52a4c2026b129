"""What the command line costs before it does anything."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.program import call, get_env, write_workflow

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "triton", "requests", "rich", "transformers", "pynvml", "warmup.supervise"}


@pytest.mark.parametrize("args", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    script = (
        "import sys, warmup.cli\n"
        f"sys.argv[1:] = {args!r}\n"
        "try:\n    warmup.cli.main()\n"
        "finally:\n    print('HEAVY', sorted(set(sys.modules) & set(%r)))\n" % (HEAVY,)
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("HEAVY []\n")


def test_every_command_of_the_design_is_there() -> None:
    from warmup.cli import cli

    assert set(cli.commands) == {
        "run", "plan", "key", "audit", "forecast", "drift", "why", "observe", "kernels", "serve",
        "exec", "gc", "reap", "doctor", "push", "pull", "verify", "report", "fleet",
    }  # fmt: skip


def test_help_lists_every_command_once_and_in_sections() -> None:
    from click.testing import CliRunner

    from warmup.cli import cli

    text = CliRunner().invoke(cli, ["--help"]).output
    listed = re.findall(r"^  ([a-z]+) {2,}", text.partition("Warm:")[2], re.MULTILINE)
    assert sorted(listed) == sorted(cli.commands)
    heads = [line for line in text.splitlines() if re.fullmatch(r"[A-Z][a-z]+:", line)]
    assert heads == ["Options:", "Warm:", "Caches:", "Host:", "More:"]


def test_an_error_is_a_document_too_where_one_was_asked_for(tmp_path: Path) -> None:
    """Exit 3 before anything is supervised: a script that reads stdout still gets JSON."""
    write_workflow(tmp_path)
    (tmp_path / "home").write_text("a file")
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["schema"], document["exit_code"]) == (3, 1, 3)
    assert document["error"]["what"].startswith("home is not writable")
    assert document["error"]["hint"]
    assert done.stderr.startswith("error: home is not writable")
    done = call(tmp_path, "run", "--models", "./missing", "--json")
    assert json.loads(done.stdout)["exit_code"] == done.returncode == 2
    assert call(tmp_path, "run", "--models", "./missing").stdout == ""


@pytest.mark.parametrize("json_args", [[], ["--json"]])
def test_sigterm_before_supervision_is_said(tmp_path: Path, json_args: list[str]) -> None:
    """The interpreter that the version vector is asked of blocks: nothing is supervised yet."""
    os.mkfifo(tmp_path / "asked")
    python = tmp_path / "python"
    waits = "while kill -0 $PPID; do sleep 0.05; done"  # and is gone with us
    python.write_text(f"#!/bin/sh\necho up > {tmp_path}/asked\n{waits}\n")
    python.chmod(0o755)
    write_workflow(tmp_path)
    program = subprocess.Popen(
        [sys.executable, "-m", "warmup", "run", "--workflow", "workflow.toml", *json_args,
         "--python", "./python"],
        cwd=tmp_path,
        env=get_env(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert (tmp_path / "asked").read_text() == "up\n"
    program.terminate()
    out, err = program.communicate(timeout=30)
    assert (program.returncode, err) == (143, "error: cancelled by SIGTERM\n")
    assert (json.loads(out)["exit_code"] == 143) if json_args else (out == "")

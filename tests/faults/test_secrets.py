"""Secrets on ways other than the log's tail."""

import json
from pathlib import Path

import pytest

from tests.commands.program import call, write_workflow

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz012345"


def test_a_secret_in_a_wrong_answer_is_not_shown(tmp_path: Path) -> None:
    write_workflow(tmp_path, "--answer", "500", "--body", " for $HF_TOKEN")
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--json", HF_TOKEN=TOKEN)
    (model,) = json.loads(done.stdout)["models"]
    assert "warmed up for ***" in model["reason"]
    assert "warmed up for ***" in done.stderr
    assert TOKEN not in done.stdout + done.stderr


SECRETS = {
    "GITHUB_PAT": "pat-9f8e7d6c5b4a",
    "PRIVATEKEY": "pk-1a2b3c4d5e6f",
    "MY_KEY": "mk-0011223344",
    "COOKIE": "session-55667788",
    "TRITON_KEY": "tk-aabbccddee",
}
IN_ARGV = {"--api-key": "ak-123456abcdef", "--hf-token": "short"}
URL = "https://ada:pw-1234567@127.0.0.1/x?token=tok-998877&x=1"


def list_values() -> list[str]:
    return [*SECRETS.values(), *IN_ARGV.values(), "pw-1234567", "tok-998877"]


def write_secret_workflow(folder: Path) -> None:
    """A toy that takes secrets as every way in takes them, and prints them all."""
    options = [word for option in IN_ARGV.items() for word in option]
    table = ", ".join(f"{name} = {json.dumps(value)}" for name, value in SECRETS.items())
    printed = " ".join(f"${name}" for name in SECRETS)
    path = write_workflow(folder, *options, "--url", URL, "--expand", printed)
    path.write_text(path.read_text() + f'env = {{ STORE_URL = "{URL}", {table} }}\n')


def list_files(folder: Path) -> list[Path]:
    """All that the program has written, but for the server's own log."""
    files = [path for path in (folder / "home").rglob("*") if path.is_file()]
    return [path for path in files if path.suffix != ".log"]


def test_marker_and_log_agree_on_what_is_secret(tmp_path: Path) -> None:
    """In nothing that is written or printed, whichever way they came in."""
    write_secret_workflow(tmp_path)
    plan = call(tmp_path, "plan", "--workflow", "workflow.toml", "--json")
    run = call(tmp_path, "run", "--workflow", "workflow.toml", "--json")
    again = call(tmp_path, "run", "--workflow", "workflow.toml", "--json")
    assert json.loads(run.stdout)["models"][0]["state"] == "warmed", run.stderr
    assert json.loads(again.stdout)["models"][0]["state"] == "warm", again.stderr
    texts = {str(path): path.read_text() for path in list_files(tmp_path)}
    assert any("/markers/" in path for path in texts)
    assert any(path.endswith("events.jsonl") for path in texts)
    for done in (plan, run, again):
        texts |= {f"{done.args} stdout": done.stdout, f"{done.args} stderr": done.stderr}
    leaks = [
        (where, value) for where, text in texts.items() for value in list_values() if value in text
    ]
    assert leaks == []
    argv = json.loads(plan.stdout)["models"][0]["argv"]
    assert argv[argv.index("--api-key") + 1] == "***"
    assert argv[argv.index("--url") + 1] == "https://***@127.0.0.1/x?token=***&x=1"


def test_another_secret_is_no_other_launch(tmp_path: Path) -> None:
    write_secret_workflow(tmp_path)
    call(tmp_path, "run", "--workflow", "workflow.toml")
    path = tmp_path / "workflow.toml"
    path.write_text(path.read_text().replace(IN_ARGV["--api-key"], "ak-fedcba654321"))
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--json")
    assert json.loads(done.stdout)["models"][0]["state"] == "warm", done.stderr


@pytest.mark.parametrize("json_output", [[], ["--json"]])
def test_an_error_that_ends_the_program_tells_no_secret(
    tmp_path: Path, json_output: list[str]
) -> None:
    done = call(tmp_path, "run", "--models", f"./{TOKEN}", *json_output, HF_TOKEN=TOKEN)
    assert done.returncode == 2
    assert "***" in done.stderr
    assert TOKEN not in done.stdout + done.stderr

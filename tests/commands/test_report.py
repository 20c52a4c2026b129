"""`report`, and `run --report`, as children: after success, failure, a signal and none at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.commands.program import call, call_json, get_env, write_workflow

FILES = {"report.html", "trace.json", "junit.xml", "metrics.prom", "otlp.json"}


def get_states(folder: Path) -> list[str]:
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "report.html").read_text().endswith("</html>\n")
    json.loads((folder / "otlp.json").read_text())
    json.loads((folder / "trace.json").read_text())
    assert 'warmup_ci_model_info{model="toy:1"' in (folder / "metrics.prom").read_text()
    suite = ElementTree.parse(folder / "junit.xml").getroot()[0]
    return [
        next((child.tag for child in case if child.tag != "system-out"), "passed")
        for case in suite.findall("testcase")
    ]


def test_run_and_report_of_the_same_home(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    document = call_json(tmp_path, "run", "--workflow", "workflow.toml", "--report", "out/deep")
    assert get_states(tmp_path / "out" / "deep") == ["passed"]
    found = call_json(tmp_path, "report")
    (run,) = found["runs"]
    assert (run["run_id"], run["states"]) == (document["run_id"], {"toy:1": "warmed"})
    (model,) = run["models"]
    assert model["why_cold"].startswith("never warmed")
    assert [phase for phase, _, _ in model["phases"]] == ["spawn", "ready", "request", "stop"]
    text = call(tmp_path, "report").stdout
    assert "model  state   seconds  GPU-hours  new entries  reason" in text
    assert "+1 triton" in text
    # Once more, all warm: the run that has just ended joins the trend.
    call(tmp_path, "run", "--workflow", "workflow.toml", "--report", "out/deep")
    assert "2 runs, the newest on the right" in (tmp_path / "out/deep/report.html").read_text()
    paths = [f"--{kind}={kind}" for kind in ("html", "trace", "junit", "prometheus", "otlp")]
    done = call(tmp_path, "report", document["run_id"], *paths)
    assert (done.returncode, done.stdout) == (0, "")
    assert "html: html (" in done.stderr
    assert document["run_id"] in (tmp_path / "html").read_text()
    assert (tmp_path / "html").stat().st_mode & 0o444 == 0o444


def test_a_failed_run_is_reported(tmp_path: Path) -> None:
    write_workflow(tmp_path, "--raise-on-request")
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--report", "out")
    assert done.returncode == 1
    assert get_states(tmp_path / "out") == ["failure"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "RuntimeError: no device" in page
    assert "<mark>▶ Traceback (most recent call last):</mark>" in page


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signalled_run_is_reported(tmp_path: Path, signum: signal.Signals) -> None:
    write_workflow(tmp_path, "--never-ready")
    process = start(tmp_path, "--report", "out")
    wait_for_phase(tmp_path, "ready")
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signum, err
    assert get_states(tmp_path / "out") == ["failure"]


def test_a_killed_run_is_told_by_the_next_report(tmp_path: Path) -> None:
    write_workflow(tmp_path, "--never-ready")
    process = start(tmp_path)
    wait_for_phase(tmp_path, "ready")
    process.kill()
    process.communicate(timeout=60)
    (run,) = call_json(tmp_path, "report")["runs"]
    assert (run["exit_code"], run["states"]) == (None, {"toy:1": "unfinished"})
    assert run["notes"] == ["It has no end: it was killed, or it is still running."]
    call(tmp_path, "reap")


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "warmup", "run", "--workflow", "workflow.toml", *args],
        cwd=folder,
        env=get_env(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_phase(folder: Path, phase: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in folder.glob("home/runs/*/events.jsonl"):
            if f'"phase":"{phase}","state":"started"' in path.read_text():
                return
        time.sleep(0.02)
    raise AssertionError(f"no {phase}")


def test_an_empty_home_says_so(tmp_path: Path) -> None:
    done = call(tmp_path, "report", "--html", "page.html")
    assert (done.returncode, done.stdout) == (0, "")
    assert "No run is recorded in" in (tmp_path / "page.html").read_text()
    assert call(tmp_path, "report").stdout == f"no run is recorded in {tmp_path / 'home'}\n"
    assert call_json(tmp_path, "report")["runs"] == []
    assert not (tmp_path / "home").exists(), "who only looks makes nothing"


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    done = call(tmp_path, "report", "nowhere")
    assert done.returncode == 2
    assert "no run nowhere" in done.stderr
    done = call(tmp_path, "report", "--html", "missing/page.html")
    assert done.returncode == 3
    assert "cannot write missing/page.html" in done.stderr
    write_workflow(tmp_path)
    (tmp_path / "file").touch()
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--report", "file")
    assert done.returncode == 3, "before anything is launched"
    assert "cannot make the report's folder file" in done.stderr
    assert not (tmp_path / "triton").exists()


def test_a_report_that_cannot_be_written_fails_no_model(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--report", "out")
    assert done.returncode == 0
    assert "warning: cannot write out/report.html" in done.stderr


def test_a_home_that_cannot_be_written_is_reported_too(tmp_path: Path) -> None:
    """All is warm there: nothing is recorded, and the files are written all the same."""
    write_workflow(tmp_path)
    call(tmp_path, "run", "--workflow", "workflow.toml")
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    (tmp_path / "home" / "runs").chmod(0o500)
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--report", "out")
    (tmp_path / "home" / "runs").chmod(0o700)
    assert done.returncode == 0
    assert get_states(tmp_path / "out") == ["passed"]


def read_compiled(folder: Path, run_id: str) -> list[tuple[str, str, float]]:
    """Family, kernel and moment of each compile event."""
    lines = (folder / "home" / "runs" / run_id / "events.jsonl").read_text().splitlines()
    events = [event for event in map(json.loads, lines) if event["kind"] == "compiled"]
    assert {event["model"] for event in events} <= {"toy:1"}
    return [(e["data"]["family"], name, t) for e in events for t, name in e["data"]["kernels"]]


def test_what_a_boot_compiles_is_on_the_page_and_in_the_trace(tmp_path: Path) -> None:
    write_workflow(tmp_path, more='requests = [{ path = "/compile/mul", json = {} }]\n')
    began = time.time()
    document = call_json(tmp_path, "run", "--workflow", "workflow.toml", "--report", "out")
    found = read_compiled(tmp_path, document["run_id"])
    assert [(family, kernel) for family, kernel, _ in found] == [
        ("triton", "add"),
        ("triton", "mul"),
    ]
    assert began - 1 < found[0][2] <= found[1][2] < time.time()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "compiled: 2 triton" in page and "2 kernels compiled" in page
    events = json.loads((tmp_path / "out" / "trace.json").read_text())["traceEvents"]
    spans = {event["name"]: event for event in events if event["ph"] == "X"}
    add, mul = (event for event in events if event["ph"] == "i")
    assert (add["name"], mul["name"]) == ("add", "mul")
    for kernel, phase in ((add, "request"), (mul, "ladder")):
        span = spans[phase]
        assert span["ts"] <= kernel["ts"] + 20_000, "a file's time lags by a tick"
        assert kernel["ts"] <= span["ts"] + span["dur"]
    # Nothing is compiled by a run that finds it warm.
    document = call_json(tmp_path, "run", "--workflow", "workflow.toml")
    assert read_compiled(tmp_path, document["run_id"]) == []


def test_what_was_compiled_before_a_failure_or_again_is_told(tmp_path: Path) -> None:
    write_workflow(tmp_path, more='requests = [{ path = "/fail", json = {} }]\n')
    document = call_json(tmp_path, "run", "--workflow", "workflow.toml")
    assert document["exit_code"] == 1
    (found,) = read_compiled(tmp_path, document["run_id"])
    assert found[:2] == ("triton", "add")
    assert document["models"][0]["new_entries"] == {"triton": 1}
    write_workflow(tmp_path, "--always-compile")
    document = call_json(tmp_path, "run", "--workflow", "workflow.toml", "--prove")
    assert document["models"][0]["failed_phase"] is None
    assert [kernel for _, kernel, _ in read_compiled(tmp_path, document["run_id"])] == ["add"] * 2


def test_what_was_repaired_before_a_run_is_told(tmp_path: Path) -> None:
    write_workflow(tmp_path)
    broken = tmp_path / "triton" / "HASHOLD" / "old.cubin"
    broken.parent.mkdir(parents=True)
    broken.touch()
    call(tmp_path, "run", "--workflow", "workflow.toml", "--report", "out")
    said = f"repaired {broken.parent}: put in quarantine: "
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"Before the run: {said}" in page and "does not know" not in page
    assert f"  note: {said}" in call(tmp_path, "report").stdout

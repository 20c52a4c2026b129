from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from tests.report.helpers import Screen, emit_run, make_result
from warmup.report.actions import Actions, escape_data, escape_property
from warmup.report.document import ModelResult
from warmup.report.output import Output, guard_line, is_actions


def runner_commands(lines: list[str]) -> list[tuple[str, str]]:
    """(command, message) as the runner would act on these lines.

    As actions/runner does: `::name props::message` after blanks, and nothing but the token while
    commands are stopped.
    """
    found, token = [], None
    for line in lines:
        match = re.match(r"\s*::([A-Za-z0-9-]+)( [^:]*)?::(.*)", line)
        if token is not None:
            if match and match[1] == token:
                token = None
        elif match and match[1] == "stop-commands":
            token = match[3]
        elif match:
            found.append((match[1], (match[2] or "").strip() + "|" + match[3]))
        elif "##[" in line:
            found.append(("##[", line))
    assert token is None, "commands stay stopped for all that follows"
    return found


def test_escapes() -> None:
    assert escape_data("100%\r\na:b,c") == "100%25%0D%0Aa:b,c"
    assert escape_property("100%\r\na:b,c") == "100%25%0D%0Aa%3Ab%2Cc"


def test_only_the_runner_turns_it_on() -> None:
    assert is_actions({"GITHUB_ACTIONS": "true"})
    assert not is_actions({"GITHUB_ACTIONS": ""})
    assert not is_actions({})


def test_each_model_has_its_group_and_each_failure_one_error() -> None:
    screen = Screen(actions=True)
    results = [
        make_result("a/one"),
        make_result("a/two", state="failed", reason="exit 3, at once: 100%", log="/r/two.log"),
        make_result("a/three", state="warm", reason="marker of 2026-11-20"),
    ]
    emit_run(screen.events, results)

    assert runner_commands(screen.err) == [
        ("group", "|a/one:1"),
        ("endgroup", "|"),
        ("group", "|a/two:1"),
        ("endgroup", "|"),
        ("error", "title=a/two%3A1 failed|exit 3, at once: 100%25%0Alog: /r/two.log"),
        ("group", "|a/three:1"),
        ("endgroup", "|"),
    ]
    assert runner_commands(screen.out) == []
    assert screen.out[0] == "one:1 ........ warmed 41.2 s"


def test_with_json_stdout_is_pure() -> None:
    screen = Screen(actions=True, json=True)
    emit_run(screen.events, [make_result(state="failed", reason="x")])
    assert screen.out == []
    assert "error" in dict(runner_commands(screen.err))


def test_a_log_tail_cannot_speak_to_the_runner() -> None:
    screen = Screen(actions=True)
    tail = ["::error::forged", "##[error]forged", "  ::set-output name=x::y", "::endgroup::"]
    bad = make_result("::error::m", state="failed", reason="::error::r ##[stop-commands]x")
    emit_run(screen.events, [bad], tail=tail)
    screen.events.emit("warning", text="##[error]w")

    assert [name for name, _ in runner_commands(screen.err)] == ["group", "endgroup", "error"]
    assert runner_commands(screen.out) == []
    assert "  | ::error::forged" in screen.err


def test_the_stop_token_is_new_each_time() -> None:
    screen = Screen(actions=True)
    emit_run(screen.events, [make_result("a"), make_result("b")], tail=["x"])
    tokens = [line for line in screen.err if line.startswith("::stop-commands::")]
    assert len(tokens) == len(set(tokens)) == 2


@pytest.mark.parametrize("line", ["::error::x", "  \t::x::", "a ##[error]b", "plain", ":: "])
def test_a_guarded_line_is_no_command(line: str) -> None:
    assert runner_commands([guard_line(line)]) == []
    assert (guard_line(line) == line) == (line == "plain")


def failures(number: int) -> list[ModelResult]:
    return [make_result(f"m{i}", state="failed", reason="x") for i in range(number)]


@pytest.mark.parametrize(("number", "last"), [(9, "x"), (10, "x"), (12, "3 more models failed")])
def test_no_more_errors_than_a_step_may_show(number: int, last: str) -> None:
    screen = Screen(actions=True)
    emit_run(screen.events, failures(number))
    errors = [message for name, message in runner_commands(screen.err) if name == "error"]
    assert len(errors) == min(number, 10)
    assert errors[-1].partition("|")[2].startswith(last)
    if number > 10:
        assert errors[-1].endswith("m9:1, m10:1, m11:1")


def test_secrets_are_masked_before_anything_else() -> None:
    screen = Screen(actions=True, secret_values=["hf_abc%\nd", "", "  "])
    emit_run(screen.events, [make_result()])
    assert screen.err[0] == "::add-mask::hf_abc%25%0Ad"
    assert sum("add-mask" in line for line in screen.err) == 1


def test_secrets_stay_out_of_a_file_that_no_runner_reads(tmp_path: Path) -> None:
    path = tmp_path / "stderr"
    with path.open("w", encoding="utf-8") as stream:
        Actions(lambda _: None, Output(stream), environ={}, secret_values=["hf_abc"])
    assert path.read_text() == ""


def test_summary_and_outputs_are_appended(tmp_path: Path) -> None:
    summary, output = tmp_path / "summary.md", tmp_path / "output"
    summary.write_text("before\n")
    output.write_text("before=1\n")
    environ = {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(output)}
    screen = Screen(environ, actions=True)
    emit_run(screen.events, [make_result("a/b"), *failures(2)])

    assert summary.read_text().startswith("before\n\n### warmup-ci: 1 warmed, 2 failed\n")
    assert "| a/b:1 | 🟢 warmed | 41.2 s |" in summary.read_text()
    assert output.read_text().startswith("before=1\n\nwarm<<ghadelimiter_")
    assert not any("warning" in line for line in screen.err)


def test_files_that_cannot_be_written_are_a_warning(tmp_path: Path) -> None:
    environ = {
        "GITHUB_STEP_SUMMARY": str(tmp_path),
        "GITHUB_OUTPUT": str(tmp_path / "gone" / "output"),
    }
    screen = Screen(environ, actions=True)
    emit_run(screen.events, [make_result()])
    warnings = [line for line in screen.err if line.startswith("warning: ")]
    assert [line.split()[1] for line in warnings] == ["GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"]
    assert screen.out == ["toy:1 ...... warmed 41.2 s"]


def test_a_group_is_closed_on_every_way_out() -> None:
    stream = io.StringIO()
    screen = Screen()
    view = Actions(screen.console, Output(stream), environ={})
    screen.events.subscribe(view)
    screen.events.emit("model_started", "a:1", engine="command")
    view.close()
    view.close()
    assert stream.getvalue().splitlines() == ["::group::a:1", "::endgroup::"]


def test_models_warmed_at_once_have_whole_groups() -> None:
    screen = Screen(actions=True)
    one, two = make_result("a/one"), make_result("a/two", state="failed", reason="exit 3")
    screen.events.emit("run_started", run_id="r1", models=[one.name, two.name], jobs="2")
    for each in (one, two):
        screen.events.emit("model_started", each.name, index=1, total=2, engine="command")
    for phase in ("spawn", "ready"):
        for each in (one, two):
            screen.events.emit("phase", each.name, phase=phase, state="finished", seconds=1.0)
    screen.events.emit("heartbeat", one.name, phase="request", seconds=30.0)
    screen.events.emit("log_tail", two.name, path="/r/two.log", lines=["two"], cut=False)
    screen.events.finish(two)
    screen.events.finish(one)
    groups: dict[str, list[str]] = {"": []}
    name = ""
    for line in screen.err:
        if line.startswith("::group::"):
            name = line[9:]
            groups[name] = []
        elif line.startswith("::endgroup::"):
            name = ""
        else:
            groups[name].append(line)
    assert list(groups) == ["", "a/two:1", "a/one:1"]
    assert any("waiting for the answer 30 s" in line for line in groups[""])
    assert [line.split()[0] for line in groups["a/one:1"]] == ["one:1"] * 3
    assert "  | two" in groups["a/two:1"]

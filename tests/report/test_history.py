from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.helpers import make_result
from tests.report.homes import make_results, read, record_run, write_run
from warmup.report import history
from warmup.report.events import Event
from warmup.report.overview import list_lines
from warmup.report.page import list_gaps, make_page
from warmup.report.reader import RecordBuilder
from warmup.words.errors import UsageError

FINISHED = {"tp": 8, "state": "warmed", "reason": "cold", "seconds": 90.0}


def test_a_run_is_read_as_it_was(tmp_path: Path) -> None:
    record_run(tmp_path, "r1", make_results("org/a"), ["ready", "x: error: bad"])
    run = read(tmp_path).newest
    assert run is not None
    assert (run.run_id, run.exit_code, run.version_key, run.price) == ("r1", 1, "vk1", 2.5)
    assert [each.state for each in run.models.values()] == ["failed", "warmed"]
    model = run.models["org/a:8"]
    assert (model.state, model.reason, model.was_cold_for) == ("warmed", "org/a", "why org/a:8")
    names = [span.name for span in model.spans]
    assert names[:4] == ["spawn", "ready", "request", "stop"]
    assert {span.seconds for span in model.spans} == {0.25}
    assert (model.steps[0].new_entries, model.num_compiled) == (
        {"triton": 2},
        {"family of org/a:8": 2},
    )
    late, early = model.compiled
    assert early.t == model.begin, "a file may be older than the run"
    assert early.t < late.t
    assert (model.trouble, model.warnings) == ("x: error: bad", ["warned of org/a:8"])
    assert model.gpu_hours == pytest.approx(8 * 41.23 / 3600)
    assert run.gpu_hours == pytest.approx(12 * 41.23 / 3600)
    assert run.cost == pytest.approx(2.5 * run.gpu_hours)
    assert (run.num_unread, run.unknown, run.problem) == (0, {}, None)


def test_a_model_that_was_warm_holds_no_gpu(tmp_path: Path) -> None:
    record_run(tmp_path, "r1", [make_result(state="warm", seconds=3.0)])
    run = read(tmp_path).newest
    assert run is not None
    assert (run.gpu_hours, run.gpu_hours_saved, run.brief.verdict) == (0, 0, "warm")


def test_what_a_target_run_did_is_saved(tmp_path: Path) -> None:
    start = ("run_started", None, {"run_id": "r", "models": ["a:8"], "target": "h200x8"})
    write_run(tmp_path, "r1", [start, ("model_finished", "a:8", FINISHED)])
    write_run(tmp_path, "r2", [("model_finished", "a:8", {**FINISHED, "state": "seeded"})])
    for name in ("r1", "r2"):
        run = read(tmp_path, name).newest
        assert run is not None
        assert (run.gpu_hours, run.gpu_hours_saved) == (0, 8 * 90 / 3600)


def test_a_run_that_was_killed_says_where(tmp_path: Path) -> None:
    path = record_run(tmp_path, "r1", [make_result("a"), make_result("b")])
    lines = path.read_text().splitlines()
    cut = next(i for i, line in enumerate(lines) if '"ready"' in line)
    path.write_text("\n".join([*lines[: cut + 1], lines[cut + 1][:40]]))
    run = read(tmp_path).newest
    assert run is not None
    assert [each.state for each in run.models.values()] == ["unfinished", "unfinished"]
    first, second = run.models.values()
    assert first.reason == "the run ended during ready; it was cold: why a:1"
    assert second.reason == "the run ended before this model's turn"
    assert first.spans[-1].state == "started"
    assert [*list_gaps(run)] == [
        "It has no end: it was killed, or it is still running.",
        "1 line of its events could not be read.",
    ]
    assert any("never finished" in line for line in list_lines(read(tmp_path)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4))
def test_no_cut_and_no_flipped_byte_raises(
    tmp_path_factory: pytest.TempPathFactory, size: int, flips: list[tuple[int, int]]
) -> None:
    runs = tmp_path_factory.mktemp("runs")
    path = record_run(runs, "r1", make_results("org/a"), ["x"])
    whole = bytearray(path.read_bytes())
    for place, byte in flips:
        whole[place % len(whole)] = byte
    path.write_bytes(whole[: size % (len(whole) + 1)])
    found = read(runs, "r1")
    assert len(found.runs) == 1
    assert [*list_lines(found)]


@pytest.mark.parametrize(
    "event",
    [
        {"t": 1, "kind": "teleported", "data": {"anything": [1]}},
        {"t": 1e300, "kind": "phase", "model": "a:1", "data": {"phase": "x", "seconds": -1e300}},
        {"t": -5, "kind": "model_finished", "model": "a:1", "data": {"state": "sublimated"}},
        {"t": 1, "kind": "step", "model": "a:1", "data": {"step": "s", "new_entries": 7}},
        {"t": 1, "kind": "run_started", "data": {"models": "not a list"}},
        {"t": 1, "kind": "model_finished", "model": None, "data": {"tp": "eight"}},
        {"t": "late", "kind": "phase"},
        [],
        None,
    ],
)
def test_a_later_or_a_wrong_event_ends_nothing(tmp_path: Path, event: object) -> None:
    path = record_run(tmp_path, "r1", [make_result("a")])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], json.dumps(event), *lines[1:]]))
    run = read(tmp_path).newest
    assert run is not None
    assert (run.exit_code, run.models["a:1"].state) == (0, "warmed")


def test_a_run_of_a_later_version_says_what_is_missing(tmp_path: Path) -> None:
    """Its outcomes have another shape: nobody says that the model was killed."""
    path = record_run(tmp_path, "r1", [make_result("a")])
    events = [json.loads(line) for line in path.read_text().splitlines()]
    for event in events:
        if event["kind"] == "model_finished":
            event["data"]["new_entries"] = {"triton": ["add"]}
    path.write_text("\n".join(map(json.dumps, events)))
    found = read(tmp_path)
    (model,) = found.runs[0].models.values()
    assert (model.state, model.reason) == ("unfinished", "what became of it cannot be read")
    assert "1 line of its events could not be read." in make_page(found)


def test_kinds_of_a_later_version_are_named(tmp_path: Path) -> None:
    write_run(
        tmp_path, "r1", [("teleported", None, {}), ("teleported", None, {}), ("x\x1b", None, {})]
    )
    run = read(tmp_path).newest
    assert run is not None
    assert any("teleported (2), x\\x1b (1)" in gap for gap in list_gaps(run))


def test_only_what_is_meant_is_read_in_full(tmp_path: Path) -> None:
    for name in ("20260101T1", "20260102T2", "20260102T3"):
        record_run(tmp_path, name, [make_result("a")])
    found = read(tmp_path)
    assert [run.run_id for run in found.runs] == ["20260102T3"]
    assert [run.run_id for run in found.briefs] == ["20260101T1", "20260102T2", "20260102T3"]
    assert [run.run_id for run in read(tmp_path, "20260101").runs] == ["20260101T1"]
    assert len(read(tmp_path, "20260101", "20260102T2").runs) == 2
    with pytest.raises(UsageError, match="cannot tell which run 20260102 is"):
        read(tmp_path, "20260102")
    with pytest.raises(UsageError, match="no run 1999"):
        read(tmp_path, "1999")


def test_what_is_no_run_is_passed_over(tmp_path: Path) -> None:
    record_run(tmp_path / "elsewhere", "r1", [make_result("a")])
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "file").write_text("x")
    (runs / "link").symlink_to(tmp_path / "elsewhere" / "r1")
    (runs / "empty").mkdir()
    (runs / "pipe").mkdir()
    os.mkfifo(runs / "pipe" / "events.jsonl")
    (runs / "linked").mkdir()
    (runs / "linked" / "events.jsonl").symlink_to(tmp_path / "elsewhere" / "r1" / "events.jsonl")
    (runs / "cut").mkdir()
    (runs / "cut" / "events.jsonl").write_text('{"t":1795000')
    found = read(runs)
    assert found.briefs == ()
    assert found.unread == ("cut: it recorded no event",)
    assert "note: run cut: it recorded no event" in list_lines(found)
    assert "1 run of which nothing can be read" in make_page(found)
    (named,) = read(runs, "empty").runs
    assert named.problem == "its events cannot be read: No such file or directory"


def test_long_lines_and_long_files_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record_run(tmp_path, "r1", [make_result("a")])
    lines = path.read_text().splitlines()
    monkeypatch.setattr(history, "_MAX_LINE_BYTES", 4096)
    path.write_text("\n".join([lines[0], "x" * 10_000, "y" * 4096, *lines[1:]]))
    run = read(tmp_path).newest
    assert run is not None
    assert (run.num_unread, run.exit_code) == (2, 0)
    monkeypatch.setattr(history, "_MAX_FILE_BYTES", 300)
    run = read(tmp_path).newest
    assert run is not None
    assert run.problem is not None
    assert run.exit_code is None


def test_the_view_of_a_live_run_is_what_its_file_says(tmp_path: Path) -> None:
    from tests.report.helpers import emit_run
    from warmup.report.events import Events

    (tmp_path / "r1").mkdir()
    events, builder = Events(tmp_path / "r1" / "events.jsonl"), RecordBuilder("r1")
    events.subscribe(builder)
    emit_run(events, [make_result("a"), make_result("b", state="failed")], ["bye"])
    events.close()
    assert read(tmp_path).newest == builder.finish()


def test_every_kind_of_event_is_known_to_the_reader(tmp_path: Path) -> None:
    """As `Event` lists them; `repaired` was once told as a later version's."""
    assert Event.__doc__ is not None
    kinds = re.findall(r"^      ([a-z_]+) +\{", Event.__doc__, re.MULTILINE)
    assert len(kinds) >= 11
    write_run(tmp_path, "r1", [(kind, None, {}) for kind in kinds])
    run = read(tmp_path).newest
    assert run is not None
    assert not run.unknown

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from tests.report.helpers import collect, make_result
from warmup.report.events import Event, Events


def test_events_reach_file_and_views_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events, seen = Events(path), list[Event]()
    events.subscribe(seen.append)
    events.emit("run_started", run_id="r", models=["a:1"])
    result = make_result("a")
    events.finish(result)
    events.close()

    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["kind"] for event in written] == ["run_started", "model_finished"]
    assert [event.kind for event in seen] == ["run_started", "model_finished"]
    assert written[1]["model"] == "a:1"
    assert written[1]["data"] == json.loads(msgspec.json.encode(result))
    assert seen[1].result is result


def test_undecodable_names_are_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = Events(path)
    events.emit("model_started", "caf\udce9:1", argv=["x", "\udcff"])
    events.close()
    assert json.loads(path.read_bytes())["data"]["argv"] == ["x", "\udcff"]


def test_a_full_disk_is_said_once_and_ends_nothing() -> None:
    seen: list[Event] = []
    events = Events(Path("/dev/full"))
    events.subscribe(seen.append)
    events.emit("run_started", run_id="r")
    events.emit("run_finished", exit_code=0)

    assert [event.kind for event in seen] == ["run_started", "warning", "run_finished"]
    assert "No space left" in seen[1].data["text"]


def test_a_view_that_fails_is_reported_and_the_others_go_on() -> None:
    seen: list[Event] = []
    events = collect(seen)

    def broken(event: Event) -> None:
        raise KeyError(event.kind)

    events.subscribe(broken)
    events.emit("run_started", run_id="r")
    events.emit("run_finished", exit_code=0)

    texts = [event.data["text"] for event in seen if event.kind == "warning"]
    assert texts[0] == "a view failed at run_started, our own bug: KeyError('run_started')"
    assert len(texts) == 2  # the second: it could not show the first, and is asked no more
    assert seen[-1].kind == "run_finished"

"""Held against the published "Trace Event Format", and against what Perfetto drops."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.report.helpers import make_result
from tests.report.homes import HOSTILE, make_results, read, record_run, write_run
from warmup.report.trace import make_trace

_COMMON = {"name": {"type": "string"}, "pid": {"type": "integer"}, "tid": {"type": "integer"}}
_MOMENT = {"type": "number", "minimum": 0}
SCHEMA = {
    "type": "object",
    "required": ["traceEvents"],
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "traceEvents": {
            "type": "array",
            "items": {
                "oneOf": [
                    {
                        "required": ["ph", "name", "cat", "pid", "tid", "ts", "dur"],
                        "properties": {**_COMMON, "ph": {"const": "X"}, "ts": _MOMENT,
                                       "dur": _MOMENT, "cat": {"type": "string"},
                                       "args": {"type": "object"}},
                        "additionalProperties": False,
                    },
                    {
                        "required": ["ph", "name", "pid", "tid", "ts", "s"],
                        "properties": {**_COMMON, "ph": {"const": "i"}, "ts": _MOMENT,
                                       "s": {"enum": ["g", "p", "t"]}, "cat": {"type": "string"},
                                       "args": {"type": "object"}},
                        "additionalProperties": False,
                    },
                    {
                        "required": ["ph", "name", "pid", "args"],
                        "properties": {**_COMMON, "ph": {"const": "M"},
                                       "name": {"enum": ["process_name", "thread_name"]},
                                       "args": {"required": ["name"]}},
                        "additionalProperties": False,
                    },
                ]
            },
        },
    },
}  # fmt: skip


def load(runs: Path, *named: str) -> list[dict[str, Any]]:
    document = json.loads(make_trace(read(runs, *named)))
    jsonschema.validate(document, SCHEMA)
    events: list[dict[str, Any]] = document["traceEvents"]
    return events


def check_tracks(events: list[dict[str, Any]]) -> None:
    """Each track has one name and holds no event that begins before the one before it ended."""
    tracks: dict[tuple[int, int], list[dict[str, Any]]] = {}
    names: dict[tuple[int, int], int] = {}
    for event in events:
        track = (event["pid"], event["tid"])
        if event["ph"] == "M":
            names[track] = names.get(track, 0) + 1
        else:
            tracks.setdefault(track, []).append(event)
    assert {*tracks} <= {*names}
    assert {*names.values()} == {1}
    for found in tracks.values():
        whole = sorted((e for e in found if e["ph"] == "X"), key=lambda e: (e["ts"], e["dur"]))
        for first, second in pairwise(whole):
            assert first["ts"] + first["dur"] <= second["ts"]


def test_phases_steps_and_kernels_have_tracks_of_their_own(tmp_path: Path) -> None:
    record_run(tmp_path, "r1", make_results("org/a", "org/b"), ["x"])
    record_run(tmp_path, "r2", make_results(*HOSTILE), HOSTILE)
    events = load(tmp_path, "r1", "r2")
    check_tracks(events)
    names = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert {"warmup-ci run r1", "org/a:8 phases", "org/a:8 requests"} <= names
    assert "org/a:8 family of org/a:8" in names
    phases = [e for e in events if e.get("cat") == "phases" and e["pid"] == 1]
    assert len(phases) == 4 * 4
    assert {event["args"]["state"] for event in phases} == {"finished", "failed"}


def test_a_clock_that_was_set_back_makes_no_overlap(tmp_path: Path) -> None:
    def phase(name: str, state: str) -> tuple[str, str, dict[str, object]]:
        return ("phase", "a:1", {"phase": name, "state": state, "seconds": 50.0})

    write_run(tmp_path, "r1", [phase("spawn", "started"), phase("spawn", "finished"),
                               phase("ready", "started"), phase("ready", "finished"),
                               phase("stop", "started")])  # fmt: skip
    events = load(tmp_path)
    check_tracks(events)
    assert [e["name"] for e in events if e["ph"] == "X"] == ["spawn", "ready", "stop"]


def test_a_run_without_a_launch_is_a_trace_still(tmp_path: Path) -> None:
    record_run(tmp_path, "r1", [make_result(state="warm")])
    assert [event["ph"] for event in load(tmp_path)] == ["M"]


@pytest.mark.parametrize("wrong", [{"ph": "X", "name": "n"}, {"ph": "B", "name": "n", "ts": 1}])
def test_the_schema_can_fail(wrong: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"traceEvents": [wrong]}, SCHEMA)

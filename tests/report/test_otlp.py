"""Held against OTLP's JSON encoding, as its specification describes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.report.homes import HOSTILE, make_results, read, record_run
from warmup.report.otlp import find_parent, make_otlp

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
_ATTRIBUTES = {
    "type": "array",
    "items": {
        "required": ["key", "value"],
        "properties": {
            "key": {"type": "string", "minLength": 1},
            "value": {
                "oneOf": [
                    {"required": ["stringValue"],
                     "properties": {"stringValue": {"type": "string"}}},
                    {"required": ["intValue"],
                     "properties": {"intValue": {"type": "string", "pattern": "^-?[0-9]+$"}}},
                    {"required": ["doubleValue"],
                     "properties": {"doubleValue": {"type": "number"}}},
                ]
            },
        },
        "additionalProperties": False,
    },
}  # fmt: skip
_NANOSECONDS = {"type": "string", "pattern": "^[0-9]{1,20}$"}
_SPAN = {
    "required": ["traceId", "spanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano"],
    "properties": {
        "traceId": {"pattern": "^[0-9a-f]{32}$"},
        "spanId": {"pattern": "^[0-9a-f]{16}$"},
        "parentSpanId": {"pattern": "^([0-9a-f]{16})?$"},
        "name": {"type": "string", "minLength": 1},
        "kind": {"enum": [1, 2, 3, 4, 5]},
        "startTimeUnixNano": _NANOSECONDS,
        "endTimeUnixNano": _NANOSECONDS,
        "attributes": _ATTRIBUTES,
        "status": {
            "properties": {"code": {"enum": [0, 1, 2]}, "message": {"type": "string"}},
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}


def load(runs: Path, **environ: str) -> list[dict[str, Any]]:
    document = json.loads(make_otlp(read(runs), environ))
    (resource,) = document["resourceSpans"]
    jsonschema.validate(resource["resource"]["attributes"], _ATTRIBUTES)
    (scoped,) = resource["scopeSpans"]
    assert scoped["scope"]["name"] == "warmup-ci"
    spans: list[dict[str, Any]] = scoped["spans"]
    for span in spans:
        jsonschema.validate(span, _SPAN)
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
    assert len({span["spanId"] for span in spans}) == len(spans)
    return spans


def get_attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}


def test_a_run_its_models_and_their_phases(tmp_path: Path) -> None:
    record_run(tmp_path, "r1", make_results("org/a"), ["x"])
    root, failed, *rest = load(tmp_path)
    assert (root["name"], root["parentSpanId"], root["status"]["code"]) == ("warmup-ci run", "", 2)
    assert get_attributes(root)["cicd.pipeline.run.id"] == "r1"
    assert (failed["name"], failed["parentSpanId"]) == ("warm org/a:4", root["spanId"])
    assert get_attributes(failed)["cicd.pipeline.task.run.result"] == "failure"
    phases = [span for span in rest if span["parentSpanId"] == failed["spanId"]]
    assert [span["name"] for span in phases] == [
        "spawn",
        "ready",
        "request",
        "stop",
        "step of org/a:4",
    ]
    assert [span["status"]["code"] for span in phases] == [1, 1, 2, 1, 1]
    assert {span["traceId"] for span in [root, failed, *rest]} == {root["traceId"]}
    assert load(tmp_path)[0]["traceId"] == root["traceId"], "made twice, it is one trace"


def test_a_traceparent_is_the_parent(tmp_path: Path) -> None:
    record_run(tmp_path, "r1", make_results("org/a"), ["x"])
    root, *rest = load(tmp_path, TRACEPARENT=f"00-{TRACE}-{SPAN}-01")
    assert root["parentSpanId"] == SPAN
    assert {span["traceId"] for span in [root, *rest]} == {TRACE}


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f" 00-{TRACE}-{SPAN}-00 ", True),
        (f"01-{TRACE}-{SPAN}-01-later", True),
        (f"00-{TRACE}-{SPAN}-01-later", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}", False),
        ("", False),
        ("$(reboot)", False),
    ],
)
def test_what_is_a_traceparent(text: str, is_valid: bool) -> None:
    assert find_parent(text) == ((TRACE, SPAN) if is_valid else None)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_is_valid_json(tmp_path: Path, hostile: str) -> None:
    record_run(tmp_path, "r1", make_results(hostile), [hostile])
    assert len(load(tmp_path, TRACEPARENT=hostile)) == 1 + 2 * 6

"""Held against Jenkins' schema (xunit-plugin, `junit-10.xsd`), written down as what it says."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from tests.report.helpers import make_result
from tests.report.homes import HOSTILE, make_results, read, record_run, write_run
from warmup.report.history import History
from warmup.report.junit import make_junit

_NUMBER, _SECONDS, _TEXT = r"\d+", r"\d+(\.\d+)?", r"(?s:.*)"
_DATE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
# Element → its attributes (required ones first, then optional), and what may stand in it, in order.
SCHEMA: dict[str, tuple[dict[str, str], dict[str, str], tuple[str, ...]]] = {
    "testsuites": ({}, {"name": _TEXT, "time": _SECONDS, "tests": _NUMBER, "failures": _NUMBER,
                        "errors": _NUMBER}, ("testsuite*",)),
    "testsuite": (
        {"name": _TEXT, "tests": _NUMBER, "failures": _NUMBER, "errors": _NUMBER},
        {"skipped": _NUMBER, "time": _SECONDS, "timestamp": _DATE, "hostname": _TEXT, "id": _TEXT},
        ("properties?", "testcase*", "system-out?", "system-err?"),
    ),
    "properties": ({}, {}, ("property+",)),
    "property": ({"name": _TEXT, "value": _TEXT}, {}, ()),
    "testcase": (
        {"name": _TEXT, "classname": _TEXT},
        {"time": _SECONDS, "status": _TEXT},
        ("skipped?", "error*", "failure*", "system-out?", "system-err?"),
    ),
    "skipped": ({}, {"message": _TEXT, "type": _TEXT}, ()),
    "error": ({}, {"message": _TEXT, "type": _TEXT}, ()),
    "failure": ({}, {"message": _TEXT, "type": _TEXT}, ()),
    "system-out": ({}, {}, ()),
    "system-err": ({}, {}, ()),
}  # fmt: skip


def check(node: Element) -> None:
    required, optional, children = SCHEMA[node.tag]
    assert required.keys() <= node.attrib.keys(), node.tag
    for name, value in node.attrib.items():
        assert re.fullmatch({**required, **optional}[name], value), (node.tag, name, value)
    order = "".join(rf"({child[:-1]} ){child[-1]}" for child in children)
    assert re.fullmatch(order, "".join(f"{child.tag} " for child in node)), node.tag
    for child in node:
        check(child)


def load(history: History) -> Element:
    root = ElementTree.fromstring(make_junit(history).encode())
    assert root.tag == "testsuites"
    check(root)
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(cases)
        for tag, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(suite.attrib[count]) == sum(case.find(tag) is not None for case in cases)
    return root


def test_one_testcase_a_model(tmp_path: Path) -> None:
    results = [*make_results("org/a"), make_result("late", state="skipped", reason="no time")]
    record_run(tmp_path, "r1", results, ["loading", "RuntimeError: no device"])
    (suite,) = load(read(tmp_path))
    failed, warmed, skipped = suite.findall("testcase")
    assert (failed.attrib["name"], failed.attrib["classname"]) == ("org/a:4", "warmup-ci.org/a")
    failure = failed.find("failure")
    assert failure is not None
    assert (failure.attrib["type"], failure.attrib["message"]) == ("request", "org/a")
    assert "first line of trouble: RuntimeError: no device" in (failure.text or "")
    assert "loading\nRuntimeError: no device" in (failed.findtext("system-out") or "")
    assert [child.tag for child in warmed] == ["system-out"]
    assert skipped.find("skipped") is not None


def test_what_never_finished_is_an_error(tmp_path: Path) -> None:
    write_run(tmp_path, "r1", [("run_started", None, {"models": ["a:1", "b:1"]})])
    (suite,) = load(read(tmp_path))
    assert suite.attrib["errors"] == "2"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_is_valid_xml(tmp_path: Path, hostile: str) -> None:
    record_run(tmp_path, "r1", make_results(hostile), [hostile])
    (suite,) = load(read(tmp_path))
    assert len(suite.findall("testcase")) == 2


def test_no_run_is_no_suite(tmp_path: Path) -> None:
    assert len(load(History((), ()))) == 0

"""`report --junit`: one testsuite a run, one testcase a model.

The schema is Jenkins' (xunit-plugin `junit-10.xsd`), which GitLab, Buildkite and others read too:
a testcase holds `skipped`, `error` or `failure`, then `system-out`. A model that fails is a
failure; one that the run never finished is an error.
"""

from __future__ import annotations

import time

from warmup.report.history import History
from warmup.report.markup import Markup, element, escape, join
from warmup.report.record import UNFINISHED, ModelRecord, RunRecord
from warmup.report.text import get_entries


def make_junit(history: History) -> str:
    suites = [_make_suite(run) for run in history.runs]
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{element("testsuites", *suites)}\n'


def _make_suite(run: RunRecord) -> Markup:
    models = list(run.models.values())
    states = [each.state for each in models]
    facts = {"version_key": run.version_key, "gpu_hours": f"{run.gpu_hours:.4f}"}
    if run.price:
        facts["cost"] = f"{run.cost:.4f}"
    properties = [element("property", name=name, value=value) for name, value in facts.items()]
    return element(
        "testsuite",
        element("properties", *properties),
        *map(_make_case, models),
        name=f"warmup-ci {run.run_id}",
        tests=len(models),
        failures=states.count("failed"),
        errors=states.count(UNFINISHED),
        skipped=states.count("skipped"),
        time=f"{run.seconds:.3f}",
        timestamp=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(run.begin)),
    )


def _make_case(model: ModelRecord) -> Markup:
    return element(
        "testcase",
        _find_fault(model),
        _find_output(model),
        classname=f"warmup-ci.{model.engine or 'unknown'}",
        name=model.name,
        time=f"{model.seconds:.3f}",
    )


def _find_fault(model: ModelRecord) -> Markup | None:
    tag = {"failed": "failure", UNFINISHED: "error", "skipped": "skipped"}.get(model.state)
    if tag is None:
        return None
    if tag == "skipped":
        return element(tag, message=model.reason)
    failed = model.outcome.failed_phase if model.outcome else None
    told = [model.reason]
    if model.trouble is not None:
        told.append(f"first line of trouble: {model.trouble}")
    if model.log is not None:
        told.append(f"log: {model.log}")
    return element(tag, join(told, "\n"), message=model.reason, type=failed or model.state)


def _find_output(model: ModelRecord) -> Markup | None:
    told = [model.state + (f": {model.reason}" if model.reason else "")]
    if grown := get_entries(model.new_entries):
        told.append(f"new entries: {grown}")
    lines = [escape(text) for text in told]
    if model.tail is not None:
        lines += [escape(line) for line in model.tail.lines]
    return element("system-out", join(lines, "\n"))

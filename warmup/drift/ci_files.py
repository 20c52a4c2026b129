"""What a CI's own files say: which models its workflows warm, and which suites a test is in.

Facts: sglang's `.github/workflows/pr-test.yml`, `_pr-test-stage.yml` and
`python/sglang/test/ci/ci_register.py`, August 2026. YAML is read as lines: two inputs of one shape
are needed, and no reader of YAML is a base dependency.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

SUFFIXES = (".yml", ".yaml")
_INPUT = re.compile(r"^(?P<indent>\s*)warmup_(?:deep_gemm|server)_models:(?P<value>.*)$")
_JOBS = re.compile(r"^jobs:", re.MULTILINE)
_JOB = re.compile(r"^  (?P<name>[\w-]+):\s*(?:#.*)?$")
_MODEL = re.compile(r"^(?P<model>[\w.-]+(?:/[\w.-]+)*?)(?::(?P<tp>[0-9]{1,4}))?$")
_BLOCK = re.compile(r"^[|>][+-]?$")
_REGISTER = re.compile(r"register_\w+_ci")


class WarmedModel(NamedTuple):
    """line: from 1. job: the workflow's job that warms it; in sglang's, the suite's name."""

    line: int
    model: str
    tp: int
    job: str


def is_workflow(text: str) -> bool:
    """Whether it looks like a workflow of GitHub Actions: every one has `jobs`."""
    return _JOBS.search(text) is not None


def find_warmed(text: str) -> Iterator[WarmedModel]:
    """Each model that the file tells the warm-up to start, `warmup_server_models: org/model:8 …`.

    Declarations of the inputs and expressions (`${{ inputs.… }}`) name no models.
    """
    lines = text.splitlines()
    job = ""
    for index, line in enumerate(lines):
        if found := _JOB.match(line):
            job = found["name"]
        if (found := _INPUT.match(line)) is None:
            continue
        value = re.sub(r"(?:^|\s)#.*$", "", found["value"]).strip().strip("\"'")
        values = [(index + 1, value)]
        if _BLOCK.match(value):
            values = list(_read_block(lines, index + 1, len(found["indent"])))
        for number, words in values:
            for word in () if "${{" in words else words.split():
                if found := _MODEL.match(word):
                    yield WarmedModel(number, found["model"], int(found["tp"] or 1), job)


def _read_block(lines: list[str], start: int, indent: int) -> Iterator[tuple[int, str]]:
    for index in range(start, len(lines)):
        line = lines[index]
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            return
        yield index + 1, line.strip()


def find_suites(nodes: Iterable[ast.AST]) -> tuple[str, ...]:
    """The suites that run this test: `register_cuda_ci(60, stage="base-c", runner_config="h200")`.

    A stage and a runner are the suite `base-c-test-h200`. One that is disabled is left out.
    """
    suites = []
    for node in nodes:
        match node:
            case ast.Call(func=ast.Name(id=name), args=args) if _REGISTER.fullmatch(name):
                said = dict(zip(("est_time", "suite", "nightly", "disabled"), args, strict=False))
                said |= {each.arg: each.value for each in node.keywords if each.arg}
                values = {key: getattr(each, "value", None) for key, each in said.items()}
                pair = f"{values.get('stage')}-test-{values.get('runner_config')}"
                suite = values.get("suite") or pair
                if values.get("disabled") is None and isinstance(suite, str):
                    suites.append(suite)
    return tuple(dict.fromkeys(suites))

"""What a CI's own workflow files warm: `warmup_deep_gemm_models: org/model:8 other/model:4`.

Read as lines, not as YAML: two inputs of one shape are needed, and no reader of YAML is a base
dependency. Facts: sglang's `.github/workflows/pr-test.yml` and `_pr-test-stage.yml`, autumn 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SUFFIXES = (".yml", ".yaml")
_INPUT = re.compile(r"^(?P<indent>\s*)warmup_(?:deep_gemm|server)_models:(?P<value>.*)$")
_JOBS = re.compile(r"^jobs:", re.MULTILINE)
_MODEL = re.compile(r"^(?P<model>[\w.-]+(?:/[\w.-]+)*?)(?::(?P<tp>[0-9]{1,4}))?$")
_BLOCK = re.compile(r"^[|>][+-]?$")


def is_workflow(text: str) -> bool:
    """Whether it looks like a workflow of GitHub Actions: every one has `jobs`."""
    return _JOBS.search(text) is not None


def find_warmed(text: str) -> Iterator[tuple[int, str, int]]:
    """(line from 1, model, TP) of each model that the file tells the warm-up to start.

    Declarations of the inputs and expressions (`${{ inputs.… }}`) name no models.
    """
    lines = text.splitlines()
    for index, line in enumerate(lines):
        found = _INPUT.match(line)
        if found is None:
            continue
        value = _strip(found["value"])
        if _BLOCK.match(value):
            yield from _read_block(lines, index + 1, len(found["indent"]))
        else:
            yield from _split(value, index + 1)


def _read_block(lines: list[str], start: int, indent: int) -> Iterator[tuple[int, str, int]]:
    for index in range(start, len(lines)):
        line = lines[index]
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            return
        yield from _split(line.strip(), index + 1)


def _strip(value: str) -> str:
    """Without the comment and the quotes around it."""
    value = re.sub(r"(?:^|\s)#.*$", "", value).strip()
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if is_quoted else value


def _split(value: str, line: int) -> Iterator[tuple[int, str, int]]:
    if "${{" in value:
        return
    for word in value.split():
        found = _MODEL.match(word)
        if found is not None:
            yield line, found["model"], int(found["tp"] or 1)

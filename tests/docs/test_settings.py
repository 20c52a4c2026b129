"""Keys of workflow files and variables that the pages name are ones that there are."""

from __future__ import annotations

import functools
import re
from typing import Any

import click
import msgspec
import pytest
import tomllib

from tests.docs.commands import ROOT
from tests.docs.markdown import Document, parse
from tests.docs.test_commands import PAGES, read
from warmup.cli import cli
from warmup.packs.policy import Policy
from warmup.workflow.file import Defaults, Workflow, WorkflowModel


def list_fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {each.encode_name: each.type for each in msgspec.structs.fields(struct)}


def list_wrong_keys(document: Document) -> list[str]:
    """Of blocks that are TOML; outside of any table stand the keys of some table."""
    tables = {**list_fields(Workflow), "packs": Policy}
    loose = {*tables, *list_fields(Defaults), *list_fields(WorkflowModel)}
    found = []
    for block in document.blocks:
        try:
            values = tomllib.loads(block.text)
        except tomllib.TOMLDecodeError:
            continue
        for name, value in values.items():
            if name not in loose:
                found.append(f"{block.line}: {name}")
            rows = value if isinstance(value, list) else [value]
            for row in rows if name in tables else ():
                if isinstance(row, dict):
                    known = _find_fields(tables[name])
                    found += [f"{block.line}: {name}.{key}" for key in row if key not in known]
    return found


def _find_fields(kind: Any) -> set[str]:
    """Of the structs in an annotation such as `list[WorkflowModel]` or `Packs | UnsetType`."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return set(list_fields(kind))
    inner = getattr(kind, "__args__", ())
    return set().union(*(_find_fields(each) for each in inner))


@functools.cache
def get_variables() -> frozenset[str]:
    """Of options, and those that the sources read."""
    found: set[str] = set()
    commands: list[click.Command] = [cli]
    while commands:
        command = commands.pop()
        commands += command.commands.values() if isinstance(command, click.Group) else []
        found |= {str(each.envvar) for each in command.params if each.envvar}
    for path in (ROOT / "warmup").rglob("*.*"):
        if path.suffix in (".py", ".c", ".h"):
            found |= set(re.findall(r"WARMUP_CI_[A-Z_]*[A-Z]", path.read_text()))
    return frozenset(found)


def list_wrong_variables(text: str) -> list[str]:
    named = re.findall(r"WARMUP_CI_[A-Z_]*[A-Z](?![A-Z_*])", text)
    return sorted(set(named) - get_variables())


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_can_be_set(page: str) -> None:
    assert list_wrong_keys(read(page)) == []
    assert list_wrong_variables((ROOT / page).read_text()) == []


def test_a_wrong_key_and_a_wrong_variable_are_found() -> None:
    page = (
        "    [defaults]\n    prize_per_gpu_hour = 1\n    ladder = 'short'\n\nx\n\n"
        "```toml\nladdr = 1\n"
        "[[model]]\nid = 'a'\ntpp = 2\n[packs]\nsigners = 'x'\n```\n"
    )
    found = list_wrong_keys(parse(page))
    assert found == [
        "1: defaults.prize_per_gpu_hour",
        "7: laddr",
        "7: model.tpp",
        "7: packs.signers",
    ]
    text = "`WARMUP_CI_HOME`, `WARMUP_CI_*`, `WARMUP_CI_HOUSE`, `WARMUP_CI_LADDER`"
    assert list_wrong_variables(text) == ["WARMUP_CI_HOUSE"]

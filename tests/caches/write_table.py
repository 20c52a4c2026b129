"""The tables of docs/caches.md, from the families' and the engines' own files.

`python -m tests.caches.write_table` writes them; a test fails when the two drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from warmup.caches.family import Family
from warmup.caches.family_table import list_families
from warmup.caches.hazards.rules import GROUPS
from warmup.launch.engine_table import get_engine
from warmup.words.names import ENGINE_NAMES, FAMILY_NAMES

PAGE = Path(__file__).parents[2] / "docs" / "caches.md"
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"
_DEFAULTS = {"HOME": "~", "USER": "$USER"}


def make_tables() -> str:
    """What stands between `BEGIN` and `END`."""
    places = [
        [_code([each.name]), _code(_get_places(each)), _code(each.variables), _get_engines(each)]
        for each in list_families()
    ]
    keys = [
        [_code([each.name]), _code(each.ingredients), _code(each.env_names)]
        for each in list_families()
    ]
    moves = [
        [_code([each.name]), "yes" if each.is_relocatable else "no", each.repair, _get_rules(each)]
        for each in list_families()
    ]
    return "\n\n".join(
        (
            _format(["family", "lies in", "moved by", "filled by"], places),
            _format(["family", "goes cold when one of these changes", "or one of these"], keys),
            _format(["family", "copy used", "otherwise", "what `audit` looks for"], moves),
        )
    )


def write() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{make_tables()}\n{END}{after}")


def _get_places(family: Family) -> Iterable[str]:
    cwd = str(Path.cwd())
    return (str(root).removeprefix(f"{cwd}/") for root in family.get_roots(_DEFAULTS))


def _get_engines(family: Family) -> str:
    names = [name for name in ENGINE_NAMES if family.name in get_engine(name).families]
    return "all" if len(names) == len(ENGINE_NAMES) else _code(names)


def _get_rules(family: Family) -> str:
    groups = [group for group in GROUPS if family.name in group.families]
    own = [group for group in groups if group.families != FAMILY_NAMES]
    return _code(rule.id for group in own for rule in group.rules) or "what it looks for in all"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _format(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    write()

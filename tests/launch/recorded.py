"""The options that releases declare, as `tools/record_options.py` recorded them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    engine: str
    distribution: str
    version: str
    source_files: tuple[str, ...]
    options: frozenset[str]


def read_releases() -> list[Release]:
    folder = Path(__file__).parent / "options"
    return [
        msgspec.json.decode(path.read_bytes(), type=Release)
        for path in sorted(folder.glob("*.json"))
    ]


def find_undeclared(argv: Sequence[str], options: Iterable[str]) -> list[str]:
    """The flags of `argv` that argparse would refuse: neither declared nor a unique abbreviation.

    A flag may carry `=value`; a negative number is a value.
    """
    declared = set(options)
    return [
        flag
        for flag in (argument.partition("=")[0] for argument in argv)
        if flag.startswith("-")
        and not flag[1:2].isdigit()
        and flag not in declared
        and not _is_abbreviation(flag, declared)
    ]


def _is_abbreviation(flag: str, declared: set[str]) -> bool:
    longer = [option for option in declared if option.startswith(flag)]
    return flag.startswith("--") and len(flag) > 2 and len(longer) == 1

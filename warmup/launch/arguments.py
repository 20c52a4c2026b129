"""Server arguments as the engines' argparse reads them. The one parser of them.

`--a b`, `--a=b`, and `--a` alone are options; `-1` and `-` are values; what follows `--` is not an
option. Of an option that is repeated the last one counts. Unknown ones stay as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from warmup.launch.options import MONITORS, NEUTRAL, SPELLINGS, UNDERSCORE_ENGINES

_RELEASE = re.compile(r"(\d+)\.(\d+)")
_NEGATIVE = re.compile(r"-\.?\d")
_CANONICAL = {
    engine: {other: name for name, others in table.items() for other in others}
    for engine, table in SPELLINGS.items()
}


class Option(NamedTuple):
    """name: as written; "" before the first option, "--" for all that follows one."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Arguments:
    """options: in the order and spelling in which they were written. engine: whose they are."""

    options: tuple[Option, ...]
    engine: str

    @cached_property
    def values(self) -> dict[str, tuple[str, ...]]:
        """Canonical name → values of its last use, in the order of those uses.

        Positional words stand under "", what follows `--` under "--". `-tp=8` is `-tp 8` here.
        """
        found: dict[str, tuple[str, ...]] = {}
        for name, values in self.options:
            if name == "":
                found[name] = (*found.get(name, ()), *values)
                continue
            spelling, equals, value = name.partition("=")
            canonical = get_canonical(spelling, self.engine)
            found.pop(canonical, None)
            found[canonical] = (value, *values) if equals else values
        return found

    def find(self, *names: str) -> str | None:
        """The first value of the last used of these options, by canonical names; "" for a bare one.

        None where none of them is there.
        """
        used = [name for name in self.values if name in names]
        return None if not used else next(iter(self.values[used[-1]]), "")


def parse(args: Sequence[str], engine: str) -> Arguments:
    """The arguments of a server. engine: a word of ENGINE_NAMES; its table names the spellings."""
    options: list[tuple[str, list[str]]] = []
    is_open = True  # whether what comes next can still be a value of the last option
    for index, arg in enumerate(args):
        if arg == "--":
            options.append((arg, list(args[index + 1 :])))
            break
        if is_option(arg):
            name, equals, value = arg.partition("=") if arg.startswith("--") else (arg, "", "")
            options.append((name, [value] if equals else []))
            is_open = not equals
        elif options and is_open:
            options[-1][1].append(arg)
        else:
            options.append(("", [arg]))
            is_open = True
    return Arguments(tuple(Option(name, tuple(values)) for name, values in options), engine)


def is_option(arg: str) -> bool:
    """`--name`, `-n`; not `-1`, `-.5` or `-`. `--` itself counts."""
    return arg.startswith("-") and arg != "-" and not _NEGATIVE.match(arg)


def get_canonical(spelling: str, engine: str) -> str:
    """The engine's own first name of an option, whatever its spelling; an unknown one as it is."""
    if engine in UNDERSCORE_ENGINES and spelling.startswith("--"):
        spelling = spelling.replace("_", "-")
    return _CANONICAL.get(engine, {}).get(spelling, spelling)


def is_neutral(name: str, engine: str) -> bool:
    """Whether this option, by its canonical name, cannot change what any kernel is compiled for."""
    return any(
        name.startswith(known[:-1]) if known.endswith("*") else name == known
        for known in NEUTRAL.get(engine, ())
    )


def part_monitors(
    argv: Sequence[str], engine: str, get_version: Callable[[], str | None]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`argv` without the options of a monitor that this release of the engine lacks, and those.

    get_version: asked only where there is one; of a version that is unknown all are taken.
    """
    firsts = MONITORS.get(engine, {})
    names = [get_canonical(arg.partition("=")[0], engine) for arg in argv]
    if firsts.keys().isdisjoint(names):
        return tuple(argv), ()
    match = _RELEASE.match(get_version() or "")
    release = tuple(map(int, match.groups())) if match else None
    kept: list[str] = []
    left: list[str] = []
    words = kept
    for arg, name in zip(argv, names, strict=True):
        if is_option(arg):  # what is none belongs to the one before it
            is_new = release is not None and name in firsts and release < firsts[name]
            words = left if is_new else kept
        words.append(arg)
    return tuple(kept), tuple(left)

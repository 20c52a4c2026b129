"""From a launch's arguments and environment to the layout of its ranks.

Three kinds of argument: those modelled here, those that cannot change a product's shape, and all
others. One of the last makes the model fall back to its server, with the argument named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from warmup.kernels.shapes.architecture import Kind, Layout, NotModelledError, divide
from warmup.words.errors import UsageError

Rules = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Arguments:
    """Arguments of one engine: `values` by their canonical name, the last one given winning."""

    who: str
    values: dict[str, str]
    env: Mapping[str, str] = field(default_factory=dict)

    def get_size(self, name: str, default: int) -> int:
        text = self.values.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:8]) == int(text):
            raise UsageError(f"{self.who}: {name}: expected a whole number, found {text[:80]!r}")
        return int(text)

    def has(self, name: str) -> bool:
        return name in self.values

    def choose(self, name: str, default: str, known: Sequence[str]) -> str:
        """The argument's word. Raises NotModelledError for one that is not among `known`."""
        word = self.values.get(name, default)
        if word not in known:
            raise NotModelledError(f"{name} {word} is not modelled")
        return word

    def is_on(self, variable: str, default: bool) -> bool:
        """A boolean variable as sglang reads it (0.5.23, srt/environ.py, EnvBool)."""
        text = self.env.get(variable, "").lower()
        return default if not text else text in ("1", "true", "yes", "y")


def parse(
    args: Sequence[str], rules: Rules, neutral: Sequence[str], who: str, env: Mapping[str, str]
) -> Arguments:
    """rules: canonical name → its spellings. neutral: names, and prefixes that end in `*`.

    Raises NotModelledError naming the first argument that is neither.
    """
    canonical = {spelling: name for name, all_of in rules.items() for spelling in all_of}
    values: dict[str, str] = {}
    rest = list(args)
    while rest:
        flag, has_value, value = rest.pop(0).partition("=")
        while not has_value and rest and not _is_flag(rest[0]):
            value = f"{value} {rest.pop(0)}".strip()
        if flag in canonical:
            values[canonical[flag]] = value
        elif not _is_neutral(flag, neutral):
            raise NotModelledError(f"{flag} is not modelled: it might change the shapes")
    return Arguments(who, values, env)


def _is_flag(text: str) -> bool:
    return text.startswith("--") or (text[:1] == "-" and text[1:2].isalpha())


def _is_neutral(flag: str, neutral: Sequence[str]) -> bool:
    return any(
        flag.startswith(name[:-1]) if name.endswith("*") else flag == name for name in neutral
    )


def make_layout(
    arguments: Arguments, *, tp: int, attention_dp: int, ep: int, **more: object
) -> Layout:
    """tp ranks; attention is copied attention_dp times, experts are dealt to ep of them.

    `more`: the fields of Layout that do not follow from these. Raises UsageError for sizes that
    do not divide.
    """
    who = arguments.who
    attention_tp = divide(tp, attention_dp, "tensor parallel size", who)
    experts_tp = divide(tp, ep, "tensor parallel size", who)
    fields = {"dense_tp": tp, "shared_tp": tp, **more}
    return Layout(
        tp=tp,
        attention_tp=attention_tp,
        experts_tp=experts_tp,
        ep=ep,
        **fields,  # type: ignore[arg-type]
    )


BOTH: tuple[Kind, ...] = ("CONTIG", "MASKED")

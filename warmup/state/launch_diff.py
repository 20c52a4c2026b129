"""How two launches of one model differ, in a user's words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import msgspec

from warmup.launch.api import LaunchRecord, parse

_PLAIN = {
    "engine": "engine",
    "model": "model",
    "tp": "tp",
    "revision": "revision",
    "config": "model configuration",
    "weights": "weights",
    "trust_remote_code": "trust_remote_code",
}


class LaunchChange(msgspec.Struct, frozen=True):
    """One difference. `old` is None for what was added, `new` for what was removed; a flag
    without a value is ""."""

    name: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.name} {self.new} added".replace("  ", " ")
        if self.new is None:
            return f"{self.name} {self.old} removed".replace("  ", " ")
        return f"{self.name} {self.old or '(nothing)'} → {self.new or '(nothing)'}"


def diff_launches(old: LaunchRecord, new: LaunchRecord) -> list[LaunchChange]:
    """What makes the keys differ; [] exactly where they are equal."""
    if old.key == new.key:
        return []
    changes = [
        LaunchChange(words, _text(getattr(old, name)), _text(getattr(new, name)))
        for name, words in _PLAIN.items()
        if getattr(old, name) != getattr(new, name)
    ]
    changes += _diff_names("variable", old.env, new.env)
    changes += _diff_names("argument", _group(old.fallback_args), _group(new.fallback_args))
    changes += _diff_names("command", _group(old.command), _group(new.command))
    # Where nothing was added, removed or changed, the order of a command's words was.
    return changes or [LaunchChange("command", shlex.join(old.command), shlex.join(new.command))]


def _diff_names(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[LaunchChange]:
    return [
        LaunchChange(f"{kind} {name}".rstrip(), old.get(name), new.get(name))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _group(args: Sequence[str]) -> dict[str, str]:
    """Flag → its values as a shell would take them; repetitions are joined by the flag itself."""
    grouped: dict[str, str] = {}
    for name, values in parse(args, "").options:
        said = shlex.join(values)
        grouped[name] = f"{grouped[name]} {name} {said}" if name in grouped else said
    return grouped


def _text(value: object) -> str:
    return "none" if value is None else str(value)

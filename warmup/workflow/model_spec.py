"""`MODEL[:TP]` as a user writes it.

`MODEL` is a hub id or a local folder; the part after the last `:` is the tensor parallel size
only if it is a whole number (design.md section 3), so a folder may hold a colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from warmup.words.errors import UsageError

# No machine that a runner has holds more; a larger number is a slip of the finger.
MAX_TP = 1024

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")


class ModelSpec(msgspec.Struct, frozen=True):
    """model: as written, without the size. tp: None where none was given."""

    model: str
    tp: int | None = None

    def __str__(self) -> str:
        return self.model if self.tp is None else f"{self.model}:{self.tp}"


def parse_spec(text: str) -> ModelSpec:
    """Raises UsageError for an empty model and for a size outside 1..MAX_TP."""
    model, colon, size = text.rpartition(":")
    if not colon or not _WHOLE_NUMBER.fullmatch(size):
        model, size = text, ""
    if not model.strip():
        raise UsageError(
            f"not a model: {text!r}",
            cause="the part before the size is empty",
            hint="write MODEL or MODEL:TP, for example deepseek-ai/DeepSeek-V3.2:8",
        )
    if "\0" in model:
        raise UsageError(f"not a model: {text!r}", cause="it holds a NUL character")
    if not size:
        return ModelSpec(model)
    # A number of a million digits is refused by its length before int() has to read it.
    tp = int(size) if len(size) <= 10 else MAX_TP + 1
    if not 1 <= tp <= MAX_TP:
        raise UsageError(
            f"impossible tensor parallel size in {text[:200]!r}",
            cause=f"expected a whole number from 1 to {MAX_TP}",
            hint=f"write {model[:200]}:1 or {model[:200]}:8",
        )
    return ModelSpec(model, tp)


def parse_specs(values: Iterable[str]) -> tuple[ModelSpec, ...]:
    """The specs of every `--models`: each value may hold several, comma-separated.

    Raises UsageError where a value names nothing and where a spec stands twice.
    """
    specs: list[ModelSpec] = []
    for value in values:
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not parts:
            raise UsageError(
                "--models names no model",
                cause=f"got {value!r}",
                hint="name at least one, or leave --models out to take all of the workflow",
            )
        specs += [parse_spec(part) for part in parts]
    for index, spec in enumerate(specs):
        if spec in specs[:index]:
            raise UsageError(
                f"duplicate model: {spec}", hint="name each model and size once in --models"
            )
    return tuple(specs)

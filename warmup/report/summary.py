"""The table of a run's models, and the two files that a GitHub Actions step may leave.

`HEAD` and `get_cells` are the table of the step's summary, of `report` and of its page alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from warmup.report.document import ModelResult
from warmup.report.text import get_bill, get_entries, get_hours, get_seconds
from warmup.words.escape import get_printable

MAX_BYTES = 900 * 1024  # past 1 MiB the runner drops a step's whole summary, silently
_RESERVE_BYTES = 512  # for the line that says how many rows are missing
HEAD = ("model", "state", "seconds", "GPU-hours", "new entries", "reason")
_ICONS = {
    "warm": "🟢",
    "warmed": "🟢",
    "seeded": "🔵",
    "failed": "🔴",
    "skipped": "⚪",
    "cold": "🔵",
}


class Row(Protocol):
    """What the table says of a model; `ModelResult` is one."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def proven(self) -> bool: ...
    @property
    def seconds(self) -> float: ...
    @property
    def gpu_hours(self) -> float: ...
    @property
    def new_entries(self) -> dict[str, int]: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True)
class RunSummary:
    """What is known when a run is over. price: of a GPU-hour, 0 where nobody says one. target: the
    GPU elsewhere that it was for, "" for its own."""

    run_id: str
    version_key: str
    results: tuple[ModelResult, ...]
    price: float = 0.0
    target: str = ""

    @property
    def bill(self) -> str:
        hours = sum(each.gpu_hours for each in self.results)
        return get_bill(0.0, hours, self.price) if self.target else get_bill(hours, 0.0, self.price)


def write_step_summary(path: Path, summary: RunSummary) -> None:
    """Append the table, cut so that the file stays within `MAX_BYTES`. Raises OSError."""
    with path.open("ab") as file:
        room = MAX_BYTES - file.tell() - 1
        _append(file, get_table(summary, room))


def write_outputs(path: Path, summary: RunSummary) -> None:
    """Append outputs `warm`, `failed` (a `MODEL:TP` a line) and `version-key`. Raises OSError."""
    warm = [result.name for result in summary.results if result.is_warm]
    failed = [result.name for result in summary.results if result.state == "failed"]
    text = (
        get_output("warm", "\n".join(map(get_printable, warm)))
        + get_output("failed", "\n".join(map(get_printable, failed)))
        + get_output("version-key", summary.version_key)
    )
    with path.open("ab") as file:
        _append(file, text)


def _append(file: BinaryIO, text: str) -> None:
    """After a line break where something stands already: it may lack its own."""
    if text:
        start = b"\n" if file.tell() else b""
        file.write(start + text.encode("utf-8", "backslashreplace"))


def get_output(name: str, value: str) -> str:
    """One output as the runner reads it; the delimiter is random, so no value can end it."""
    import uuid  # a run outside Actions, all warm, is done before this would be loaded

    delimiter = f"ghadelimiter_{uuid.uuid4()}"
    body = f"{value}\n" if value else ""
    return f"{name}<<{delimiter}\n{body}{delimiter}\n"


def get_table(summary: RunSummary, max_bytes: int = MAX_BYTES) -> str:
    """A Markdown table, one row per model, in at most `max_bytes` of UTF-8; "" if none fits."""
    states = [result.state for result in summary.results]
    counts = ", ".join(f"{states.count(s)} {s}" for s in _ICONS if s in states) or "no model"
    text = f"### warmup-ci: {counts}\n\n| {' | '.join(HEAD)} |\n"
    text += "| --- | --- | ---: | ---: | --- | --- |\n"
    foot = f"\n{summary.bill}; run `{summary.run_id}`, version key `{summary.version_key}`\n\n"
    room = max_bytes - _RESERVE_BYTES - _count_bytes(text) - _count_bytes(foot)
    if room < 0:
        return ""
    left = len(summary.results)
    for result in summary.results:
        name, state, seconds, hours, *rest = get_cells(result)
        cells = (_get_cell(name), f"{_ICONS[result.state]} {state}", seconds, hours)
        row = f"| {' | '.join([*cells, *map(_get_cell, rest)])} |\n"
        room -= _count_bytes(row)
        if room < 0:
            break
        text += row
        left -= 1
    more = f"\n… and {left} more, in the log.\n" if left else ""
    return text + more + foot


def get_cells(row: Row) -> tuple[str, ...]:
    """One row under `HEAD`, as text that still has to be escaped for where it is shown."""
    return (
        row.name,
        row.state + (", proven" if row.proven else ""),
        get_seconds(row.seconds) if row.seconds else "",
        get_hours(row.gpu_hours) if row.gpu_hours else "",
        get_entries(row.new_entries),
        row.reason,
    )


def _get_cell(text: str) -> str:
    """Foreign text as text: neither Markdown, nor HTML, nor a cell's or a row's end."""
    text = get_printable(text).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{char}" if char in "\\`*_[]|~#!" else char for char in text)


def _count_bytes(text: str) -> int:
    return len(text.encode("utf-8", "backslashreplace"))

"""Words and columns of the report: names, seconds, verdict lines. Functions of data alone."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterable, Sequence

from warmup.report.document import ModelResult
from warmup.words.escape import get_printable

_NUM_DOTS = 6
_MAX_COLUMN = 60  # beyond it a name no longer widens the column of all the others


def get_width(text: str) -> int:
    """Terminal columns that `text` takes; wide East Asian characters take two."""
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def get_short_name(name: str) -> str:
    """The last part of a model's id or path."""
    return name.rstrip("/").rsplit("/", 1)[-1]


def get_short_names(names: Iterable[str]) -> dict[str, str]:
    """`MODEL:TP` → what to call it in a line: the last part of its path, where that is unique."""
    shorts = {name: get_short_name(name) for name in names}
    taken = list(shorts.values())
    return {
        name: get_printable(short if short and taken.count(short) == 1 else name)
        for name, short in shorts.items()
    }


def get_column(shorts: Iterable[str]) -> int:
    """Columns that the names of a run take beside each other's verdicts."""
    return max((min(get_width(short), _MAX_COLUMN) for short in shorts), default=0)


def get_count(number: int, noun: str, plural: str = "") -> str:
    """`1 model`, `2 models`; plural: where it is not the noun and an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def get_size(size: int) -> str:
    """Bytes for people: `1.4 GiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def get_seconds(seconds: float) -> str:
    return f"{seconds:.1f} s"


def get_duration(seconds: float) -> str:
    """For people: `0.4 s`, `13 min 5 s`, `2 h 40 min`."""
    if seconds < 99.95:
        return get_seconds(seconds)
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def get_moment(t: float) -> str:
    """Seconds since the epoch as `2026-11-24 12:05 UTC`; `unknown time` for 0."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(t)) if t else "unknown time"


def get_hours(hours: float) -> str:
    """GPU-hours: `1.73`, and `0.0018` where two digits would say nothing."""
    return f"{hours:,.2f}" if hours >= 0.1 or not hours else f"{hours:.2g}"


def get_money(cost: float) -> str:
    """In the currency of the workflow's price, which says none."""
    return f"{cost:,.2f}"


def get_bill(hours: float, saved: float, price: float) -> str:
    """`1.73 GPU-hours, 6.06 at 3.50 each`. saved: GPU-hours of a target's, which held none here.
    price: of one, 0 where nobody says one."""
    told = f"{get_hours(hours)} GPU-hours"
    told += f", {get_money(hours * price)} at {get_money(price)} each" if price else ""
    if saved:
        told += f"; {get_hours(saved)} GPU-hours saved"
        told += f", worth {get_money(saved * price)}" if price else ""
    return told


def clip(text: str, size: int) -> str:
    """The text, or its beginning and an ellipsis where it is longer than `size` characters."""
    return text if len(text) <= size else text[: max(size - 1, 0)] + "…"


def get_entries(new_entries: dict[str, int]) -> str:
    """`+41 deep_gemm, +9 triton`, the most first; empty where none is new."""
    counts = sorted(new_entries.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"+{count} {family}" for family, count in counts if count > 0)


def get_missed(seed_missed: Sequence[str]) -> str:
    """`its seed missed 2: triton add_kernel, …`; "" where it missed nothing."""
    if not seed_missed:
        return ""
    told = ", ".join(map(get_printable, seed_missed[:3]))
    return f"its seed missed {len(seed_missed)}: {told}{', …' if len(seed_missed) > 3 else ''}"


def get_verdict(result: ModelResult) -> str:
    """What became of a model, in one line without its name; it begins with the state."""
    reason = get_printable(result.reason)
    if result.state == "warm":
        return f"warm ({reason})" if reason else "warm"
    if result.state == "warmed" or (result.state == "seeded" and result.seconds):
        notes = [get_entries(result.new_entries), "proven" if result.proven else ""]
        notes += [f"for {result.target}" if result.state == "seeded" else ""]
        notes += [get_missed(result.seed_missed)]
        inside = ", ".join(note for note in notes if note)
        return f"{result.state} {get_seconds(result.seconds)}" + (f" ({inside})" if inside else "")
    took = f" {get_seconds(result.seconds)}" if result.state == "failed" else ""
    return f"{result.state}{took}" + (f": {reason}" if reason else "")


def get_label(short: str, column: int) -> str:
    """`MiMo-V2.5:8 ......`, which a verdict follows; `column` is `get_column`'s."""
    return f"{short} {'.' * (max(column - get_width(short), 0) + _NUM_DOTS)}"

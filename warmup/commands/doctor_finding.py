"""What one check of `doctor` found."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """level: `warn` leaves the host usable, `fail` does not. hint: what to do, "" if nothing."""

    level: Level
    name: str
    detail: str
    hint: str = ""

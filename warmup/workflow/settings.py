"""The settings of a launch, and the layers that they come from.

Order (design.md section 3): flag > `WARMUP_CI_*` environment > `--workflow` file >
`[tool.warmup-ci]` in pyproject.toml > default. A layer is a `Settings` in which what it does not
say is UNSET; `layer` lays the first one that speaks on top.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from warmup.launch.api import Ladder

# More is a slip of the finger, and in milliseconds more than poll(2) takes.
MAX_SECONDS = 1_000_000.0
# Of one GPU-hour, in whatever currency; more is a slip of the finger too.
MAX_PRICE = 1_000_000.0
MAX_PROCESSES = 1 << 22  # more pids than Linux has
Seconds = Annotated[float, Meta(gt=0, le=MAX_SECONDS)]
Strategy = Literal["auto", "kernels", "server"]
Weights = Literal["real", "dummy"]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `[defaults]`, a `[[model]]`, pyproject and the command line can each say."""

    python: str | UnsetType = UNSET
    engine: str | UnsetType = UNSET
    start_timeout_s: Seconds | UnsetType = UNSET
    request_timeout_s: Seconds | UnsetType = UNSET
    stop_grace_s: Annotated[float, Meta(ge=0, le=MAX_SECONDS)] | UnsetType = UNSET
    max_processes: Annotated[int, Meta(ge=0, le=MAX_PROCESSES)] | UnsetType = UNSET
    crash_patterns: list[Annotated[str, Meta(min_length=1)]] | UnsetType = UNSET
    source_paths: list[Annotated[str, Meta(min_length=1)]] | UnsetType = UNSET
    prove: bool | UnsetType = UNSET
    strategy: Strategy | UnsetType = UNSET
    ladder: Ladder | UnsetType = UNSET
    weights: Weights | UnsetType = UNSET
    trust_remote_code: bool | UnsetType = UNSET


FIELDS = tuple(Settings.__struct_fields__)


def layer(*layers: Settings) -> dict[str, Any]:
    """Every setting that some layer says, the first layer that speaks winning."""
    said: dict[str, Any] = {}
    for settings in reversed(layers):
        for name in FIELDS:
            value = getattr(settings, name)
            if value is not UNSET:
                said[name] = value
    return said

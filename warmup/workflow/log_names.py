"""What the logs of a run's models are called. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from warmup.launch.api import Launch
from warmup.state.api import get_slug


def make_log_names(launches: Sequence[Launch]) -> dict[str, str]:
    """`MODEL:TP` → name of its log and folder in the run: its slug, and the TP where two meet."""
    slugs = [get_slug(launch.model) for launch in launches]
    names: dict[str, str] = {}
    for launch, slug in zip(launches, slugs, strict=True):
        name = slug if slugs.count(slug) == 1 else f"{slug}--tp{launch.tp}"
        while name in names.values():
            name += "-x"
        names[launch.name] = name
    return names

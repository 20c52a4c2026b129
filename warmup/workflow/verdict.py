"""From a marker's check to what is done about the launch. Pure."""

from __future__ import annotations

from warmup.launch.api import Launch
from warmup.report.api import ModelResult, State
from warmup.state.api import MarkerCheck, find_shortfall


def is_done(check: MarkerCheck, launch: Launch, *, force: bool) -> bool:
    """Whether nothing need be launched: fresh, not forced, proven where that is asked, and warmed
    by its server unless kernels alone were asked for. Of a target: seeded, and not forced.
    """
    marker = check.marker
    if check.is_seed_of_target:
        return not force
    if force or not check.is_warm or marker is None:
        return False
    return find_shortfall(marker, launch) is None


def get_reason(check: MarkerCheck, launch: Launch, *, force: bool) -> str:
    """Why the launch is warm, or why a server is started for it."""
    if (check.is_warm or check.is_seed_of_target) and force:
        return "asked for with --force"
    shortfall = None
    if check.is_warm and check.marker is not None:
        shortfall = find_shortfall(check.marker, launch)
    return check.reason if shortfall is None else shortfall.reason


def make_unlaunched(
    launch: Launch, check: MarkerCheck, state: State, *, reason: str | None = None
) -> ModelResult:
    """The result of a launch for which nothing is started: warm, skipped, or cold in `plan`.

    What is warm as far as its target can be is seeded.
    """
    marker = check.marker if check.is_warm or check.is_seed_of_target else None
    return ModelResult(
        model=launch.label,
        tp=launch.tp,
        engine=launch.engine,
        state="seeded" if state == "warm" and check.is_seed_of_target else state,
        reason=check.reason if reason is None else reason,
        proven=marker is not None and marker.proven,
        marker=None if marker is None else str(check.path),
        argv=() if marker is None else marker.argv,
    )

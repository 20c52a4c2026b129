"""Hold the launches of a test tree against those of a workflow.

A table of arguments copied by hand drifts from the tests, and the kernels that a new argument
needs are then cold under a fresh marker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from warmup.drift.resolve import Unresolved
from warmup.drift.scan import FoundLaunch, FoundLaunches, UnreadFile
from warmup.launch.api import Launch, get_canonical, is_neutral, parse
from warmup.words.errors import EXIT_FAILED, EXIT_OK

# What an engine's adapter passes itself, with values of this machine.
_OWN = frozenset({"--model-path", "--host", "--port"})
# Sizes: of one, they are as good as not given.
_SIZES = ("--tp-size", "--dp-size", "--ep-size", "--pp-size", "--attn-dp-size", "--num-gpus")
_Options = tuple[str, ...]  # each as a person would write it


@dataclass(frozen=True)
class Drift:
    """One launch of the tests that is not the launch that is warmed.

    tp: the tests' size. missing_in_workflow: options the tests use and the warm-up does not;
    missing_in_tests: the reverse; each as `--option value`. is_unlisted: the workflow has no
    launch of this model; warmed_at: the line of the CI's own files that warms it, or "".
    suites: those that run it. unresolved: why it could not be compared, or None.
    """

    file: str
    line: int
    model: str | None
    tp: int | None = None
    missing_in_workflow: tuple[str, ...] = ()
    missing_in_tests: tuple[str, ...] = ()
    is_unlisted: bool = False
    warmed_at: str = ""
    suites: tuple[str, ...] = ()
    unresolved: str | None = None


@dataclass(frozen=True)
class DriftDocument:
    """launches: how many were found; compared: how many of them could be."""

    schema: int
    exit_code: int
    launches: int
    compared: int
    drifts: tuple[Drift, ...]
    problems: tuple[UnreadFile, ...]


def judge(found: FoundLaunches, launches: Sequence[Launch]) -> DriftDocument:
    """Exit code 1 for a difference, for an unlisted model, and where nothing could be compared."""
    drifts = compare(found.launches, launches)
    num_unresolved = sum(each.unresolved is not None for each in drifts)
    num_compared = len(found.launches) - num_unresolved
    is_clean = num_compared > 0 and len(drifts) == num_unresolved
    status = EXIT_OK if is_clean else EXIT_FAILED
    return DriftDocument(
        1, status, len(found.launches), num_compared, tuple(drifts), found.problems
    )


def compare(found: Iterable[FoundLaunch], launches: Sequence[Launch]) -> list[Drift]:
    """What the tests launch otherwise than the workflow does, and what the workflow lacks.

    Options that compile nothing are left out (`launch/options.py`, by engine).
    """
    found = tuple(found)
    warmed = {each.model: f"{each.file}:{each.line}" for each in found if each.says == "size"}
    drifts = []
    for each in found:
        drift = Drift(each.file, each.line, each.model, suites=each.suites)
        same = [launch for launch in launches if each.model in (launch.model, launch.label)]
        if each.model is not None and not same:
            at = warmed.get(each.model, "")
            drifts.append(replace(drift, tp=_get_tp(each), is_unlisted=True, warmed_at=at))
        elif each.unresolved is not None:
            drifts.append(replace(drift, unresolved=each.unresolved))
        else:
            same_size = [launch for launch in same if launch.tp == _get_tp(each)] or same
            sides = [_hold(each, launch) for launch in same_size]
            only_tests, only_warmed = min(sides, key=lambda both: len(both[0]) + len(both[1]))
            if only_tests or only_warmed:
                drift = replace(drift, tp=_get_tp(each), missing_in_workflow=only_tests)
                drifts.append(replace(drift, missing_in_tests=only_warmed))
    return drifts


def _hold(found: FoundLaunch, launch: Launch) -> tuple[_Options, _Options]:
    """The options that the tests alone have, and those that the warm-up alone has."""
    assert not isinstance(found.args, Unresolved)
    own = ["--trust-remote-code"] if launch.trust_remote_code else []
    size = get_canonical(found.size, launch.engine)
    tests = _get_options(found.args, launch.engine)
    workflow = _get_options((*own, *launch.fallback_args), launch.engine)
    if launch.tp != 1:
        workflow[size] = (str(launch.tp),)
    if found.says == "arguments":
        workflow.pop(size, None)
    elif found.says == "size":
        workflow = {name: values for name, values in workflow.items() if name == size}
    if tests.get(size) != workflow.get(size):
        tests.setdefault(size, ("1",))
        workflow.setdefault(size, ("1",))
    return (
        tuple(_render(*item) for item in tests.items() if workflow.get(item[0]) != item[1]),
        tuple(_render(*item) for item in workflow.items() if tests.get(item[0]) != item[1]),
    )


def _get_options(args: Sequence[str], engine: str) -> dict[str, tuple[str, ...]]:
    """Option → values, those alone that may change what is compiled."""
    sizes = {get_canonical(name, engine) for name in _SIZES}
    return {
        name: () if values == ("true",) else values
        for name, values in parse(args, engine).values.items()
        if name not in _OWN
        and not is_neutral(name, engine)
        and not (name in sizes and values == ("1",))
    }


def _get_tp(found: FoundLaunch) -> int | None:
    """Its number of GPUs, 1 where no argument says one; None where that is not known."""
    if isinstance(found.args, Unresolved) or found.says == "arguments":
        return None
    size = parse(found.args, "sglang").find(found.size)
    return 1 if size is None else int(size) if size.isdecimal() else None


def _render(name: str, values: tuple[str, ...]) -> str:
    """An option as a person would write it: `--dp-size 8`."""
    return " ".join([name, *values] if name else values)

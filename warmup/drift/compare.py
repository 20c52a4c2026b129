"""Hold the launches of a test tree against those of a workflow.

A table of arguments copied by hand drifts from the tests, and the kernels that a new argument
needs are then cold under a fresh marker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from warmup.drift.names import Unresolved
from warmup.drift.scan import FoundLaunch, FoundLaunches, UnreadFile
from warmup.launch.api import Launch, get_canonical, is_neutral, parse
from warmup.words.errors import EXIT_FAILED, EXIT_OK

# What an engine's adapter passes itself, with values of this machine.
_OWN = frozenset({"--model-path", "--host", "--port"})
# Sizes: of one, they are as good as not given.
_SIZES = ("--tp-size", "--dp-size", "--ep-size", "--pp-size", "--attn-dp-size", "--num-gpus")


@dataclass(frozen=True)
class Drift:
    """One launch of the tests that is not the launch that is warmed.

    tp: the tests' size. missing_in_workflow: options the tests use and the warm-up does not;
    missing_in_tests: the reverse; each as `--option value`. is_unlisted: the workflow has no
    launch of this model. unresolved: why it could not be compared, or None.
    """

    file: str
    line: int
    model: str | None
    tp: int | None = None
    missing_in_workflow: tuple[str, ...] = ()
    missing_in_tests: tuple[str, ...] = ()
    is_unlisted: bool = False
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
    drifts = []
    for each in found:
        same = [launch for launch in launches if each.model in (launch.model, launch.label)]
        if each.model is not None and not same:
            drifts.append(Drift(each.file, each.line, each.model, _get_tp(each), is_unlisted=True))
        elif each.unresolved is not None:
            drifts.append(Drift(each.file, each.line, each.model, unresolved=each.unresolved))
        elif (drift := _find_drift(each, same)) is not None:
            drifts.append(drift)
    return drifts


def _find_drift(found: FoundLaunch, launches: Sequence[Launch]) -> Drift | None:
    """The smallest difference to a launch of that model; of the same size, if there is one."""
    same_size = [launch for launch in launches if launch.tp == _get_tp(found)] or launches
    drifts = [_get_drift(found, launch) for launch in same_size]
    best = min(drifts, key=lambda d: len(d.missing_in_workflow) + len(d.missing_in_tests))
    return best if best.missing_in_workflow or best.missing_in_tests else None


def _get_drift(found: FoundLaunch, launch: Launch) -> Drift:
    assert not isinstance(found.args, Unresolved)
    own = ["--trust-remote-code"] if launch.trust_remote_code else []
    size = get_canonical(found.size, launch.engine)
    tests = _get_options(found.args, launch.engine)
    workflow = _get_options((*own, *launch.fallback_args), launch.engine)
    if found.has_size_alone:
        workflow = {name: values for name, values in workflow.items() if name == size}
    if launch.tp != 1:
        workflow[size] = (str(launch.tp),)
    if tests.get(size) != workflow.get(size):
        tests.setdefault(size, ("1",))
        workflow.setdefault(size, ("1",))
    return Drift(
        found.file,
        found.line,
        found.model,
        _get_tp(found),
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
    """Its number of GPUs, 1 where no argument says one; None where unresolved."""
    if isinstance(found.args, Unresolved):
        return None
    size = parse(found.args, "sglang").find(found.size)
    return 1 if size is None else int(size) if size.isdecimal() else None


def _render(name: str, values: tuple[str, ...]) -> str:
    """An option as a person would write it: `--dp-size 8`."""
    return " ".join([name, *values] if name else values)

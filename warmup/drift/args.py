"""`audit --launch-args`: hold the workflow's fallback arguments against what the tests launch.

A table of arguments copied by hand drifts from the tests, and the kernels that a new argument
needs are then cold under a fresh marker. Read as text (AST): nothing is imported, nothing is run.
"""

from __future__ import annotations

import ast
import errno
import os
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from warmup.drift.calls import LAUNCH_WORDS, FoundLaunch
from warmup.drift.options import get_options, render
from warmup.drift.scan import Scan, TooComplex
from warmup.drift.values import Unresolved
from warmup.launch.launch import Launch
from warmup.words.errors import UsageError

_MAX_BYTES = 8 << 20
# What an engine's adapter passes itself, with values of this machine.
_OWN_OPTIONS = frozenset({"--model-path", "--host", "--port"})


@dataclass(frozen=True)
class FileProblem:
    """A file or folder that could not be read as Python."""

    file: str
    reason: str


@dataclass(frozen=True)
class FoundLaunches:
    launches: tuple[FoundLaunch, ...]
    problems: tuple[FileProblem, ...]


@dataclass(frozen=True)
class Drift:
    """One launch of the tests that is not the launch that is warmed.

    tp: the tests' size. missing_in_workflow: options the tests use and the warm-up does not;
    missing_in_tests: the reverse; each as `--option value`. unresolved: why it could not be
    compared, None where it could; the other two are then empty. model, tp: None where unresolved.
    """

    model: str | None
    tp: int | None
    file: str
    line: int
    missing_in_workflow: tuple[str, ...] = ()
    missing_in_tests: tuple[str, ...] = ()
    unresolved: str | None = None


def find_launches(paths: Iterable[Path]) -> FoundLaunches:
    """Every server launch in these files, and in the `*.py` below these folders.

    Raises UsageError for a path that does not exist.
    """
    launches: list[FoundLaunch] = []
    problems: list[FileProblem] = []
    for file in _iter_files(paths, problems):
        found = _scan(file)
        if isinstance(found, FileProblem):
            problems.append(found)
        else:
            launches += found
    return FoundLaunches(tuple(launches), tuple(problems))


def compare(found: Iterable[FoundLaunch], launches: Sequence[Launch]) -> list[Drift]:
    """What the tests launch otherwise than the workflow does.

    A launch of a model that no workflow lists is nothing to compare; one whose model the file
    does not say may be any, and is reported as unresolved.
    """
    drifts = []
    for each in found:
        same = [launch for launch in launches if each.model in (launch.model, launch.label)]
        if each.model is not None and not same:
            continue
        if each.unresolved is not None:
            drifts.append(
                Drift(each.model, each.tp, each.file, each.line, unresolved=each.unresolved)
            )
        elif drift := _find_drift(each, same):
            drifts.append(drift)
    return drifts


def _find_drift(found: FoundLaunch, launches: Sequence[Launch]) -> Drift | None:
    """The smallest difference to a launch of that model; of the same size, if there is one."""
    same_size = [launch for launch in launches if launch.tp == found.tp] or launches
    drifts = [_get_drift(found, launch) for launch in same_size]
    best = min(drifts, key=lambda d: len(d.missing_in_workflow) + len(d.missing_in_tests))
    return best if best.missing_in_workflow or best.missing_in_tests else None


def _get_drift(found: FoundLaunch, launch: Launch) -> Drift:
    assert not isinstance(found.args, Unresolved)
    tests = _get_compared(found.args)
    workflow = _get_compared((*launch.fallback_args, *_get_adapter_args(launch)))
    workflow["--tp-size"] = (str(launch.tp),)
    tests.setdefault("--tp-size", ("1",))
    return Drift(
        found.model,
        found.tp,
        found.file,
        found.line,
        tuple(render(*item) for item in tests.items() if workflow.get(item[0]) != item[1]),
        tuple(render(*item) for item in workflow.items() if tests.get(item[0]) != item[1]),
    )


def _get_compared(args: Iterable[str]) -> dict[str, tuple[str, ...]]:
    options = get_options(args)
    return {name: values for name, values in options.items() if name not in _OWN_OPTIONS}


def _get_adapter_args(launch: Launch) -> tuple[str, ...]:
    return ("--trust-remote-code",) if launch.trust_remote_code else ()


def _scan(file: Path) -> list[FoundLaunch] | FileProblem:
    try:
        source = _read(file)
        tree = _parse(source, file)
        return Scan(str(file), tree).run() if any(w in source for w in LAUNCH_WORDS) else []
    except (OSError, SyntaxError, ValueError, TooComplex) as error:
        return FileProblem(str(file), _get_reason(error))
    except (RecursionError, MemoryError):
        return FileProblem(str(file), "nested too deeply")


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("not a file")
        source = stream.read(_MAX_BYTES + 1)
    if len(source) > _MAX_BYTES:
        raise ValueError(f"larger than {_MAX_BYTES} bytes")
    return source


def _parse(source: bytes, file: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tests' own, such as an invalid escape
        return ast.parse(source, str(file))


def _get_reason(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"not Python: {error.msg}" + (f", line {error.lineno}" if error.lineno else "")
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def _iter_files(paths: Iterable[Path], problems: list[FileProblem]) -> Iterator[Path]:
    """Files once each, in a stable order; links are followed, a loop of them is reported."""
    seen: set[tuple[int, int]] = set()
    for path in paths:
        if not os.path.lexists(path):
            raise UsageError(f"no such file or folder: {path}", hint="give the folder of the tests")
        yield from _iter_path(path, (), seen, problems)


def _iter_path(
    path: Path,
    above: tuple[tuple[int, int], ...],
    seen: set[tuple[int, int]],
    problems: list[FileProblem],
) -> Iterator[Path]:
    try:
        status = path.stat()
        key = status.st_dev, status.st_ino
        if key in above:
            raise ValueError("a symlink loop")
        if key in seen:
            return
        seen.add(key)
        if not stat.S_ISDIR(status.st_mode):
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("not a file")
            yield path
            return
        children = sorted(path.iterdir())
    except (OSError, ValueError) as error:
        problems.append(FileProblem(str(path), _get_reason(error)))
        return
    for child in children:
        if _is_wanted(child):
            yield from _iter_path(child, (*above, key), seen, problems)


def _is_wanted(child: Path) -> bool:
    """Python files, folders that may hold some, and links that lead nowhere else."""
    if child.suffix == ".py":
        return True
    try:
        is_folder = stat.S_ISDIR(child.stat().st_mode)
    except OSError as error:
        return error.errno == errno.ELOOP
    return is_folder and not child.name.startswith(".") and child.name != "__pycache__"

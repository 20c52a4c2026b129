"""Find the server launches in Python files and in a CI's own files."""

from __future__ import annotations

import ast
import os
import shlex
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from warmup.drift.ci_files import SUFFIXES, find_suites, find_warmed, is_workflow
from warmup.drift.launchers import (
    CLASSES,
    FALLBACK,
    RESIZER,
    SPLIT_LISTS,
    UNKNOWN,
    WORDS,
    Launcher,
    find_launcher,
)  # fmt: skip
from warmup.drift.resolve import SourceFile, Unresolved
from warmup.words.errors import UsageError
from warmup.words.files import read_regular

_MAX_BYTES = 8 << 20
_UNREADABLE = (OSError, SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True)
class UnreadFile:
    """A file or folder that could not be read as Python."""

    file: str
    reason: str


@dataclass(frozen=True)
class FoundLaunch:
    """One server launch that a test or a CI's own warm-up writes down.

    model: None where the given files do not say it; args then says why. args: of the server, in
    order. size: the option that says how many GPUs it has. says: what of it is known; a CI's
    workflow says the `size`, its dictionary of arguments all but sizes. suites: those that run it.
    """

    file: str
    line: int
    model: str | None
    args: tuple[str, ...] | Unresolved
    size: str = "--tp-size"
    says: Literal["all", "size", "arguments"] = "all"
    suites: tuple[str, ...] = ()

    @property
    def unresolved(self) -> str | None:
        """Why this launch cannot be compared; None if it can."""
        return self.args.reason if isinstance(self.args, Unresolved) else None


@dataclass(frozen=True)
class FoundLaunches:
    launches: tuple[FoundLaunch, ...]
    problems: tuple[UnreadFile, ...]


def find_launches(paths: Iterable[Path], suites: Iterable[str] = ()) -> FoundLaunches:
    """Every server launch in these files, and in the `*.py` and workflows below these folders.

    suites: patterns as a shell's; only what such a suite runs or such a job warms is kept, and of
    a dictionary of arguments the models that these launch. Raises UsageError for a path that does
    not exist, and for a named YAML that is not a workflow.
    """
    paths = tuple(paths)
    problems: list[UnreadFile] = []
    launches: list[FoundLaunch] = []
    for file in dict.fromkeys(_iter_files(paths, problems)):
        try:
            source = read_regular(file, _MAX_BYTES, follow=True)
            if file.suffix in SUFFIXES:
                launches += _read_workflow(file, source, is_named=file in paths)
            elif WORDS.search(source) is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the tests' own, such as an invalid escape
                    tree = ast.parse(source, str(file))
                launches += _scan(str(file), SourceFile(tree))
        except _UNREADABLE as error:
            problems.append(UnreadFile(str(file), _get_reason(error)))
    if patterns := tuple(suites):
        chosen = {e for e in launches for s in e.suites if any(fnmatchcase(s, p) for p in patterns)}
        models = {each.model for each in chosen}
        chosen |= {each for each in launches if each.says == "arguments" and each.model in models}
        launches = [each for each in launches if each in chosen]
    return FoundLaunches(tuple(launches), tuple(problems))


def _read_workflow(file: Path, source: bytes, *, is_named: bool) -> Iterator[FoundLaunch]:
    text = source.decode()
    if is_named and not is_workflow(text):
        hint = "name a workflow of GitHub Actions, or the folder of the tests"
        raise UsageError(f"not a workflow: {file}", cause="it has no `jobs:`", hint=hint)
    for line, model, tp, job in find_warmed(text):
        args = ("--tp-size", str(tp))
        yield FoundLaunch(str(file), line, model, args, says="size", suites=(job,))


def _iter_files(paths: Iterable[Path], problems: list[UnreadFile]) -> Iterator[Path]:
    """Files in a stable order; links are followed, a folder met again is left out."""
    seen: set[tuple[int, int]] = set()

    def note(error: OSError) -> None:
        problems.append(UnreadFile(error.filename, _get_reason(error)))

    for path in paths:
        if not os.path.lexists(path):
            raise UsageError(f"no such file or folder: {path}", hint="give the folder of the tests")
        if not path.is_dir():
            yield path
            continue
        for folder, names, files in os.walk(path, onerror=note, followlinks=True):
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                names.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            names[:] = sorted(n for n in names if n == ".github" or n[0] not in "._")
            yield from (Path(folder, n) for n in sorted(files) if n.endswith((".py", *SUFFIXES)))


def _get_reason(error: BaseException) -> str:
    """Why a file could not be read as Python, in words."""
    if isinstance(error, SyntaxError):
        return f"not Python: {error.msg}" + (f", line {error.lineno}" if error.lineno else "")
    if isinstance(error, RecursionError | MemoryError):
        return "nested too deeply"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _scan(file: str, source: SourceFile) -> list[FoundLaunch]:
    """One file's launches by line, each once."""
    found: list[FoundLaunch] = []
    calls = [node for node in source.nodes if isinstance(node, ast.Call)]
    resized = _find_resized(source)
    launching: set[str] = set()  # classes of this file that launch, or that a base launches
    for node in source.nodes:
        match node:
            case ast.Call() if launcher := find_launcher(node):
                values = {name: _get(name, node, launcher, source) for name in launcher.names}
                values |= resized.get(node, {})
                found.append(_make_found(file, node.lineno, launcher, values))
            case ast.ClassDef(name=name) if any(map(find_launcher, ast.walk(node))):
                launching.add(name)
            case ast.ClassDef():
                found += _read_class(file, node, source, launching)
            case (
                ast.Assign(targets=[ast.Name(id="FALLBACK_ARGS")], value=ast.Dict() as table)
                | ast.AnnAssign(target=ast.Name(id="FALLBACK_ARGS"), value=ast.Dict() as table)
            ):
                for key, value in zip(table.keys, table.values, strict=True):
                    model = source.evaluate(key) if key else Unresolved("another dictionary's")
                    values = {"model": model, "args": source.evaluate(value)}
                    entry = _make_found(file, value.lineno, FALLBACK, values)
                    found.append(replace(entry, says="arguments"))
    suites = find_suites(calls)
    ordered = sorted(dict.fromkeys(found), key=lambda launch: launch.line)
    return [replace(launch, suites=suites) for launch in ordered]


def _get(name: str, call: ast.Call, launcher: Launcher, source: SourceFile) -> object:
    """What a call passes for one of its launcher's parameters."""
    index = launcher.names.index(name)
    for keyword in call.keywords:
        if keyword.arg == name:
            return source.evaluate(keyword.value)
    if any(isinstance(argument, ast.Starred) for argument in call.args[: index + 1]):
        return Unresolved("passed through *args")
    if len(call.args) > index:
        return source.evaluate(call.args[index])
    if any(keyword.arg is None for keyword in call.keywords):
        return Unresolved("passed through **kwargs")
    return None


def _find_resized(source: SourceFile) -> dict[ast.AST, dict[str, object]]:
    """Launches in a list → the size that `CASES = _with_default_num_gpus(CASES, 2)` gives them."""
    sizes: dict[str, object] = {}
    for node in source.nodes:
        match node:
            case ast.Call(func=ast.Name(id=name), args=[ast.Name(id=cases), size]):
                if name == RESIZER:
                    sizes[cases] = source.evaluate(size)
    return {
        inner: {"num_gpus": sizes[name]}
        for node in source.nodes
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for name in map(ast.unparse, getattr(node, "targets", [getattr(node, "target", node)]))
        if name in sizes
        for inner in ast.walk(node)
    }


def _read_class(
    file: str, cls: ast.ClassDef, source: SourceFile, launching: set[str]
) -> Iterator[FoundLaunch]:
    """The launch of a class that only says model and arguments: a base's, by its name."""
    bases = [ast.unparse(base).rpartition(".")[2] for base in cls.bases]
    known = next((CLASSES[base] for base in bases if base in CLASSES), None)
    launcher = known or UNKNOWN
    values = {name: source.find_attribute(cls, name) for name in launcher.names}
    is_launched = not launching.isdisjoint(bases)
    if known is not None and values["model"]:
        launching.add(cls.name)
        yield _make_found(file, cls.lineno, known, values)
    elif is_launched or (bases and values["model"] and any(map(values.get, launcher.lists))):
        launching.add(cls.name)
        reason = Unresolved(f"launched by a class that is not followed: {', '.join(bases)}")
        found = _make_found(file, cls.lineno, launcher, values)
        yield found if isinstance(values["model"], Unresolved) else replace(found, args=reason)


def _make_found(
    file: str, line: int, launcher: Launcher, values: Mapping[str, object]
) -> FoundLaunch:
    model, args = values[launcher.model], _fill(launcher, values)
    if not isinstance(model, str) or not model:
        told = model.reason if isinstance(model, Unresolved) else f"it is {model!r}"
        model, args = None, Unresolved(f"model: {told}")
    return FoundLaunch(file, line, model, args, launcher.size)


def _fill(launcher: Launcher, values: Mapping[str, object]) -> tuple[str, ...] | Unresolved:
    """A server's arguments; numbers among them become text."""
    args: list[object] = [*launcher.added.split()]
    for name, option in launcher.options.items():
        value = launcher.defaults.get(name) if values[name] is None else values[name]
        args += [option] if value is True else [] if value in (None, False) else [option, value]
    for name in launcher.lists:
        items = values[name] or []
        if not isinstance(items, list):
            reason = Unresolved(f"arguments are a {type(items).__name__}, not a list")
            return items if isinstance(items, Unresolved) else reason
        if name in SPLIT_LISTS:
            args += [word for item in items for word in shlex.split(str(item))]
        else:
            args += items
    for each in args:
        if isinstance(each, Unresolved):
            return each
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            return Unresolved(f"an argument is a {type(each).__name__}")
    return tuple(map(str, args))

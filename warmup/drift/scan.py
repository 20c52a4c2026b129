"""Find the server launches in Python files: calls of a launcher, and classes that one launches."""

from __future__ import annotations

import ast
import shlex
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from warmup.drift.files import UnreadFile, get_reason, iter_files
from warmup.drift.launchers import CLASSES, WORDS, Launcher, find_launcher
from warmup.drift.resolve import Resolver, Unresolved
from warmup.drift.scopes import Class, Module, NameScope
from warmup.words.files import read_regular

_MAX_BYTES = 8 << 20
_UNREADABLE = (OSError, SyntaxError, ValueError, RecursionError, MemoryError)
_UNKNOWN = Launcher({"model": None, "other_args": (), "extra_args": (), "server_args": ()}, ())


@dataclass(frozen=True)
class FoundLaunch:
    """One server launch that a test writes down.

    model: None where the given files do not say it. args: server arguments, in order. size: the
    option that says how many GPUs it has.
    """

    file: str
    line: int
    model: str | None
    args: tuple[str, ...] | Unresolved
    size: str = "--tp-size"
    model_reason: str = ""

    @property
    def unresolved(self) -> str | None:
        """Why this launch cannot be compared; None if it can."""
        if self.model is None:
            return self.model_reason
        return self.args.reason if isinstance(self.args, Unresolved) else None


@dataclass(frozen=True)
class FoundLaunches:
    launches: tuple[FoundLaunch, ...]
    problems: tuple[UnreadFile, ...]


def find_launches(paths: Iterable[Path]) -> FoundLaunches:
    """Every server launch in these files, and in the `*.py` below these folders.

    Raises UsageError for a path that does not exist.
    """
    problems: list[UnreadFile] = []
    files = list(iter_files(paths, problems))
    library = _Library(files)
    launches: list[FoundLaunch] = []
    for file in files:
        try:
            if WORDS.search(read_regular(file, _MAX_BYTES, follow=True)) is not None:
                launches += _Scan(library.read(file), library.find).run()
        except _UNREADABLE as error:
            problems.append(UnreadFile(str(file), get_reason(error)))
    return FoundLaunches(tuple(launches), tuple(problems))


class _Library:
    """The given files, as modules that import from each other."""

    def __init__(self, files: list[Path]) -> None:
        self._files = {file.with_suffix("").parts: file for file in files}
        self.read = lru_cache(maxsize=256)(_read)
        self._find_file = lru_cache(maxsize=4096)(self._search)

    def find(self, module: Module, source: str) -> Module | None:
        """What `from source import …` in this module reads, if its file was given."""
        file = self._find_file(module.path.parent, source)
        try:
            return None if file is None else self.read(file)
        except _UNREADABLE:
            return None  # said where that file itself is scanned

    def _search(self, folder: Path, source: str) -> Path | None:
        parts = tuple(part for part in source.split(".") if part)
        beside = self._files.get((*folder.parts, *parts))
        if beside is not None or len(parts) < 2:
            return beside
        return next((f for known, f in self._files.items() if known[-len(parts) :] == parts), None)


class _Scan:
    """One file's launches."""

    def __init__(self, module: Module, find: Callable[[Module, str], Module | None]) -> None:
        self._module = module
        self._resolver = Resolver(find)
        self._parents = {
            base for each in module.classes for base in self._resolver.get_mro(each)[1:]
        }

    def run(self) -> list[FoundLaunch]:
        """By line, each once."""
        found: list[FoundLaunch] = []
        for scope in self._module.scope.iter_all():
            if scope.method is None:
                found += self._read_calls(scope, None, None)
        for cls in self._module.classes:
            found += self._read_class(cls)
        return sorted(dict.fromkeys(found), key=lambda launch: launch.line)

    def _read_class(self, cls: Class) -> list[FoundLaunch]:
        found: list[FoundLaunch] = []
        for method, owner in self._resolver.get_methods(cls).items():
            line = None if owner is cls else cls.node.lineno
            for scope in method.iter_all():
                found += self._read_calls(scope, cls, line)
        if not found or any(launch.unresolved for launch in found):
            found = self._read_helper(cls, bool(found)) or found
        # A template's subclasses say the model, and are looked at themselves.
        return [each for each in found if each.model is not None or cls not in self._parents]

    def _read_calls(
        self, scope: NameScope, cls: Class | None, line: int | None
    ) -> Iterator[FoundLaunch]:
        for call in scope.calls:
            launcher = find_launcher(call)
            if launcher is not None:
                get = self._make_get(call, launcher, scope, cls)
                yield self._make_found(launcher, get, call.lineno if line is None else line)

    def _make_get(
        self, call: ast.Call, launcher: Launcher, scope: NameScope, cls: Class | None
    ) -> Callable[[str], object]:
        order = list(launcher.parameters)

        def get(name: str) -> object:
            index = order.index(name)
            if name == "num_gpus" and (size := self._find_resize(call, launcher, scope)):
                return self._resolver.evaluate(size, scope, cls)
            for keyword in call.keywords:
                if keyword.arg == name:
                    return self._resolver.evaluate(keyword.value, scope, cls)
            if any(isinstance(argument, ast.Starred) for argument in call.args[: index + 1]):
                return Unresolved("passed through *args")
            if len(call.args) > index:
                return self._resolver.evaluate(call.args[index], scope, cls)
            if any(keyword.arg is None for keyword in call.keywords):
                return Unresolved("passed through **kwargs")
            return launcher.parameters[name]

        return get

    def _find_resize(self, call: ast.Call, launcher: Launcher, scope: NameScope) -> ast.expr | None:
        """The size that `CASES = resizer(CASES, 2)` gives to all launches in that list."""
        for other in scope.calls:
            match other:
                case ast.Call(func=ast.Name(id=name), args=[ast.Name(id=cases), size]):
                    values = [each.value for each in scope.names.get(cases, ())]
                    nodes = [each for each in values if isinstance(each, ast.expr)]
                    if name == launcher.resizer and any(call in ast.walk(n) for n in nodes):
                        return size
        return None

    def _read_helper(self, cls: Class, is_launched: bool) -> list[FoundLaunch]:
        """The launch of a class that only says model and arguments: a base's, by its name."""
        mro = self._resolver.get_mro(cls)
        names = [ast.unparse(base).rpartition(".")[2] for each in mro for base in each.node.bases]
        launcher = next((CLASSES[name] for name in names if name in CLASSES), None)
        parameters = (launcher or _UNKNOWN).parameters

        def get(name: str) -> object:
            value = self._resolver.get_attribute(cls, name)
            is_missing = isinstance(value, Unresolved) and value.is_missing
            return parameters[name] if is_missing else value

        if get("model") in (None, ""):
            return []
        if launcher is not None:
            return [self._make_found(launcher, get, cls.node.lineno)]
        if is_launched or not names or all(get(n) == () for n in parameters if n != "model"):
            return []
        reason = Unresolved(f"launched by a class that was not given: {', '.join(names)}")
        return [self._make_found(_UNKNOWN, get, cls.node.lineno, reason)]

    def _make_found(
        self,
        launcher: Launcher,
        get: Callable[[str], object],
        line: int,
        args: Unresolved | None = None,
    ) -> FoundLaunch:
        model, reason = get(launcher.model), ""
        if not isinstance(model, str) or not model:
            told = model.reason if isinstance(model, Unresolved) else f"it is {model!r}"
            model, reason = None, f"model: {told}"
        found = args or _fill(launcher.template, get)
        return FoundLaunch(str(self._module.path), line, model, found, launcher.size, reason)


def _fill(template: Iterable[str], get: Callable[[str], object]) -> tuple[str, ...] | Unresolved:
    """A launcher's template with what a test gives it; numbers among arguments become text."""
    args: list[str] = []
    for item in template:
        condition, mark, rest = item.partition("? ")
        is_given = get(condition) if mark else True
        if isinstance(is_given, Unresolved):
            return is_given
        for token in (rest if mark else item).split() if is_given else ():
            for value in _get_values(token, get):
                if isinstance(value, Unresolved):
                    return value
                if isinstance(value, bool) or not isinstance(value, str | int | float):
                    return Unresolved(f"an argument is a {type(value).__name__}")
                args += shlex.split(str(value)) if token[0] == "~" else [str(value)]
    return tuple(args)


def _get_values(token: str, get: Callable[[str], object]) -> Iterable[object]:
    if token[0] == "{":
        return (get(token[1:-1]),)
    if token[0] not in "*~":
        return (token,)
    value = get(token[1:])
    if value is None or isinstance(value, list | tuple):
        return value or ()
    if isinstance(value, Unresolved):
        return (value,)
    return (Unresolved(f"arguments are a {type(value).__name__}, not a list"),)


def _read(file: Path) -> Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tests' own, such as an invalid escape
        return Module(file, ast.parse(read_regular(file, _MAX_BYTES, follow=True), str(file)))

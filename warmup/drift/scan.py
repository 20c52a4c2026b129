"""Find the server launches in Python files: calls of a launcher, and classes that one launches."""

from __future__ import annotations

import ast
import errno
import shlex
import stat
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from warmup.drift.ci_files import SUFFIXES, find_warmed, is_workflow
from warmup.drift.launchers import CLASSES, WORDS, Launcher, find_launcher
from warmup.drift.names import NameScope, Unresolved
from warmup.drift.resolve import evaluate, get_attribute, get_methods, get_mro
from warmup.words.errors import UsageError
from warmup.words.files import read_regular

_MAX_BYTES = 8 << 20
_UNREADABLE = (OSError, SyntaxError, ValueError, RecursionError, MemoryError)
_UNKNOWN = Launcher({"model": None, "other_args": (), "extra_args": (), "server_args": ()}, ())


@dataclass(frozen=True)
class UnreadFile:
    """A file or folder that could not be read as Python."""

    file: str
    reason: str


@dataclass(frozen=True)
class FoundLaunch:
    """One server launch that a test writes down.

    model: None where the given files do not say it. args: server arguments, in order. size: the
    option that says how many GPUs it has. has_size_alone: it says model and size, no arguments.
    """

    file: str
    line: int
    model: str | None
    args: tuple[str, ...] | Unresolved
    size: str = "--tp-size"
    model_reason: str = ""
    has_size_alone: bool = False

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
    """Every server launch in these files, and in the `*.py` and workflows below these folders.

    Raises UsageError for a path that does not exist, and for a named YAML that is no workflow.
    """
    paths = tuple(paths)
    problems: list[UnreadFile] = []
    launches: list[FoundLaunch] = []
    for file in _iter_files(paths, problems):
        try:
            source = read_regular(file, _MAX_BYTES, follow=True)
            if file.suffix in SUFFIXES:
                launches += _read_workflow(file, source, is_named=file in paths)
            elif WORDS.search(source) is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the tests' own, such as an invalid escape
                    tree = ast.parse(source, str(file))
                launches += _scan(str(file), NameScope(tree))
        except _UNREADABLE as error:
            problems.append(UnreadFile(str(file), _get_reason(error)))
    return FoundLaunches(tuple(launches), tuple(problems))


def _read_workflow(file: Path, source: bytes, *, is_named: bool) -> Iterator[FoundLaunch]:
    text = source.decode()
    if is_named and not is_workflow(text):
        hint = "name a workflow of GitHub Actions, or the folder of the tests"
        raise UsageError(f"not a workflow: {file}", cause="it has no `jobs:`", hint=hint)
    for line, model, tp in find_warmed(text):
        yield FoundLaunch(str(file), line, model, ("--tp-size", str(tp)), has_size_alone=True)


def _iter_files(paths: Iterable[Path], problems: list[UnreadFile]) -> Iterator[Path]:
    """Files once each, in a stable order; links are followed, a folder met again is left out."""
    todo = list(paths)[::-1]
    for path in todo:
        if not path.exists() and not path.is_symlink():
            raise UsageError(f"no such file or folder: {path}", hint="give the folder of the tests")
    seen: set[tuple[int, int]] = set()
    while todo:
        path = todo.pop()
        try:
            status = path.stat()
            children = sorted(path.iterdir(), reverse=True) if stat.S_ISDIR(status.st_mode) else []
        except OSError as error:
            problems.append(UnreadFile(str(path), _get_reason(error)))
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        if not stat.S_ISDIR(status.st_mode):
            yield path
        todo += [child for child in children if _is_wanted(child)]


def _is_wanted(child: Path) -> bool:
    """Files that may say what is launched, folders of such, and links that lead nowhere else."""
    if child.suffix in (".py", *SUFFIXES):
        return True
    try:
        is_folder = stat.S_ISDIR(child.stat().st_mode)
    except OSError as error:
        return error.errno == errno.ELOOP
    return is_folder and not child.name.startswith(".") and child.name != "__pycache__"


def _get_reason(error: BaseException) -> str:
    """Why a file could not be read as Python, in words."""
    if isinstance(error, SyntaxError):
        return f"not Python: {error.msg}" + (f", line {error.lineno}" if error.lineno else "")
    if isinstance(error, RecursionError | MemoryError):
        return "nested too deeply"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _scan(file: str, module: NameScope) -> list[FoundLaunch]:
    """One file's launches by line, each once."""
    found: list[FoundLaunch] = []
    for scope in module.iter_all():
        if scope.method is None:
            found += _read_calls(file, scope, None)
    classes = [scope for scope in module.iter_all() if scope.is_class]
    parents = {base for each in classes for base in get_mro(each)[1:]}
    for cls in classes:
        launched: list[FoundLaunch] = []
        for method, owner in get_methods(cls).items():
            line = 0 if owner is cls else cls.line
            for scope in method.iter_all():
                launched += _read_calls(file, scope, cls, line)
        if not launched or any(launch.unresolved for launch in launched):
            launched = _read_helper(file, cls, bool(launched)) or launched
        # A template's subclasses say the model, and are looked at themselves.
        found += [each for each in launched if each.model is not None or cls not in parents]
    return sorted(dict.fromkeys(found), key=lambda launch: launch.line)


def _read_calls(
    file: str, scope: NameScope, cls: NameScope | None, line: int = 0
) -> Iterator[FoundLaunch]:
    for call in scope.calls:
        launcher = find_launcher(call)
        if launcher is not None:
            values = {name: _get(name, call, launcher, scope, cls) for name in launcher.parameters}
            yield _make_found(file, line or call.lineno, launcher, values)


def _get(
    name: str, call: ast.Call, launcher: Launcher, scope: NameScope, cls: NameScope | None
) -> object:
    """What a call passes for one of its launcher's parameters."""
    index = list(launcher.parameters).index(name)
    if name == "num_gpus" and (size := _find_resize(call, launcher, scope)):
        return evaluate(size, scope, cls)
    for keyword in call.keywords:
        if keyword.arg == name:
            return evaluate(keyword.value, scope, cls)
    if any(isinstance(argument, ast.Starred) for argument in call.args[: index + 1]):
        return Unresolved("passed through *args")
    if len(call.args) > index:
        return evaluate(call.args[index], scope, cls)
    if any(keyword.arg is None for keyword in call.keywords):
        return Unresolved("passed through **kwargs")
    return launcher.parameters[name]


def _find_resize(call: ast.Call, launcher: Launcher, scope: NameScope) -> ast.expr | None:
    """The size that `CASES = resizer(CASES, 2)` gives to all launches in that list."""
    for other in scope.calls:
        match other:
            case ast.Call(func=ast.Name(id=name), args=[ast.Name(id=cases), size]):
                values = [each.value for each in scope.names.get(cases, ())]
                nodes = [each for each in values if isinstance(each, ast.expr)]
                if name == launcher.resizer and any(call in ast.walk(n) for n in nodes):
                    return size
    return None


def _read_helper(file: str, cls: NameScope, is_launched: bool) -> list[FoundLaunch]:
    """The launch of a class that only says model and arguments: a base's, by its name."""
    bases = [ast.unparse(base).rpartition(".")[2] for each in get_mro(cls) for base in each.bases]
    launcher = next((CLASSES[name] for name in bases if name in CLASSES), None)
    values = dict((launcher or _UNKNOWN).parameters)
    for name in values:
        value = get_attribute(cls, name)
        if not (isinstance(value, Unresolved) and value.is_missing):
            values[name] = value
    if values["model"] in (None, ""):
        return []
    if launcher is not None:
        return [_make_found(file, cls.line, launcher, values)]
    if is_launched or not bases or all(values[name] == () for name in values if name != "model"):
        return []
    reason = Unresolved(f"launched by a class that this file does not have: {', '.join(bases)}")
    return [_make_found(file, cls.line, _UNKNOWN, values, reason)]


def _make_found(
    file: str,
    line: int,
    launcher: Launcher,
    values: Mapping[str, object],
    args: Unresolved | None = None,
) -> FoundLaunch:
    model, reason = values[launcher.model], ""
    if not isinstance(model, str) or not model:
        told = model.reason if isinstance(model, Unresolved) else f"it is {model!r}"
        model, reason = None, f"model: {told}"
    return FoundLaunch(
        file, line, model, args or _fill(launcher.template, values), launcher.size, reason
    )


def _fill(template: Iterable[str], values: Mapping[str, object]) -> tuple[str, ...] | Unresolved:
    """A launcher's template with what a test gives it; numbers among arguments become text."""
    args: list[str] = []
    for item in template:
        condition, mark, rest = item.partition("? ")
        is_given = values[condition] if mark else True
        if isinstance(is_given, Unresolved):
            return is_given
        for token in (rest if mark else item).split() if is_given else ():
            name = token.strip("{}*~")
            value = values[name] if name != token else token
            if token[0] not in "*~":
                value = (value,)
            elif not isinstance(value, list | tuple | Unresolved | None):
                return Unresolved(f"arguments are a {type(value).__name__}, not a list")
            for each in (value,) if isinstance(value, Unresolved) else value or ():
                if isinstance(each, Unresolved):
                    return each
                if isinstance(each, bool) or not isinstance(each, str | int | float):
                    return Unresolved(f"an argument is a {type(each).__name__}")
                args += shlex.split(str(each)) if token[0] == "~" else [str(each)]
    return tuple(args)

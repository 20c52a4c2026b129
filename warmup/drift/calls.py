"""What a server launch in a test looks like: calls, and classes that a fixture launches."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from warmup.drift.options import find_option
from warmup.drift.values import Scope, Unresolved, evaluate

Kind = Literal["call", "settings", "class"]

# sglang python/sglang/test/test_utils.py: popen_launch_server(model, base_url, timeout, api_key,
# other_args, …), its prefill/decode sibling, ModelLaunchSettings(model_path, tp_size, extra_args).
_SERVER_CALL = re.compile(r"popen_launch_\w*server")
_SETTINGS_CALL = re.compile(r"\w*LaunchSettings")
# Without one of these words a file launches nothing that is looked for here.
LAUNCH_WORDS = (b"popen_launch_", b"LaunchSettings", b"other_args")
ARGS_ATTRIBUTE = "other_args"
MODEL_ATTRIBUTE = "model"


@dataclass(frozen=True)
class FoundLaunch:
    """One server launch that a test writes down.

    model: None where the file alone does not say. args: server arguments, in order. kind: a
    `call` of a launcher, `settings` for one, or a `class` whose fixture lies in another file.
    """

    file: str
    line: int
    model: str | None
    args: tuple[str, ...] | Unresolved
    kind: Kind
    model_reason: str = ""

    @property
    def unresolved(self) -> str | None:
        """Why this launch cannot be compared; None if it can."""
        if self.model is None:
            return self.model_reason
        return self.args.reason if isinstance(self.args, Unresolved) else None

    @property
    def tp(self) -> int | None:
        """Its tensor parallel size, 1 where no argument says one; None where unresolved."""
        if isinstance(self.args, Unresolved):
            return None
        size = find_option(self.args, "--tp-size")
        if size is None:
            return 1
        return int(size) if size.isdecimal() else None


def iter_calls(node: ast.AST, scope: Scope) -> Iterator[tuple[ast.Call, Scope]]:
    """Launches among the calls of an expression, each with what names mean there."""
    if isinstance(node, ast.Call) and _get_kind(node) is not None:
        yield node, scope
    if isinstance(node, ast.Lambda):
        names = [each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)]
        scope = scope.get_shadowed(names, "a lambda's parameter")
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
        targets = (each for loop in node.generators for each in ast.walk(loop.target))
        names = [each.id for each in targets if isinstance(each, ast.Name)]
        scope = scope.get_shadowed(names, "set in a comprehension")
    for child in ast.iter_child_nodes(node):
        yield from iter_calls(child, scope)


def is_launch(call: ast.Call) -> bool:
    return _get_kind(call) is not None


def read_call(call: ast.Call, scope: Scope, file: str, line: int) -> FoundLaunch:
    """The launch that such a call makes."""
    kind = _get_kind(call)
    if kind == "settings":
        model = _get_argument(call, scope, 0, ("model_path", "model"), None)
        args = _get_settings_args(call, scope)
    else:
        model = _get_argument(call, scope, 0, ("model", "model_path"), None)
        args = get_args(_get_argument(call, scope, 4, ("other_args",), None))
    return make_found(file, line, model, args, kind or "call")


def make_found(
    file: str, line: int, model: object, args: tuple[str, ...] | Unresolved, kind: Kind
) -> FoundLaunch:
    if isinstance(model, str) and model:
        return FoundLaunch(file, line, model, args, kind)
    reason = model.reason if isinstance(model, Unresolved) else f"it is {model!r}"
    return FoundLaunch(file, line, None, args, kind, f"model: {reason}")


def get_args(value: object) -> tuple[str, ...] | Unresolved:
    """A list of arguments as a test gives it: numbers among them are written as text."""
    if value is None:
        return ()
    if isinstance(value, Unresolved):
        return value
    if not isinstance(value, list | tuple):
        return Unresolved(f"arguments are a {type(value).__name__}, not a list")
    for item in value:
        if isinstance(item, Unresolved):
            return item
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            return Unresolved(f"an argument is a {type(item).__name__}")
    return tuple(str(item) for item in value)


def _get_settings_args(call: ast.Call, scope: Scope) -> tuple[str, ...] | Unresolved:
    """`extra_args`, with the tensor parallel size that `tp_size` adds to them."""
    args = get_args(_get_argument(call, scope, 2, ("extra_args", "other_args"), None))
    size = _get_argument(call, scope, 1, ("tp_size", "tp"), 1)
    if isinstance(args, Unresolved):
        return args
    if isinstance(size, Unresolved):
        return size
    if size in (None, 1) or find_option(args, "--tp-size") is not None:
        return args
    return (*args, "--tp-size", str(size))


def _get_argument(
    call: ast.Call, scope: Scope, index: int, names: tuple[str, ...], default: object
) -> object:
    for keyword in call.keywords:
        if keyword.arg in names:
            return evaluate(keyword.value, scope)
    before = call.args[: index + 1]
    if any(isinstance(argument, ast.Starred) for argument in before):
        return Unresolved("passed through *args")
    if len(before) > index:
        return evaluate(before[index], scope)
    if any(keyword.arg is None for keyword in call.keywords):
        return Unresolved("passed through **kwargs")
    return default


def _get_kind(call: ast.Call) -> Kind | None:
    func = call.func
    name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
    if _SERVER_CALL.fullmatch(name):
        return "call"
    return "settings" if _SETTINGS_CALL.fullmatch(name) else None

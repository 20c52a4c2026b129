"""What statements leave behind in a scope: what they change, and what is in doubt after them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

from warmup.drift.calls import is_launch
from warmup.drift.values import Scope, Unresolved, evaluate, poison

Function = ast.FunctionDef | ast.AsyncFunctionDef

_READING_METHODS = frozenset({"copy", "index", "count"})
_READING_FUNCTIONS = frozenset(
    {"print", "len", "str", "repr", "list", "tuple", "sorted", "set", "isinstance", "enumerate"}
)


def get_self_names(node: Function) -> frozenset[str]:
    """What a method calls its class or instance; nothing for a static one."""
    is_static = any(ast.unparse(each) == "staticmethod" for each in node.decorator_list)
    first = [*node.args.posonlyargs, *node.args.args][:1]
    return frozenset() if is_static else frozenset(each.arg for each in first)


def iter_touched(call: ast.Call) -> Iterator[ast.expr]:
    """The lists that a call may change: the one whose method it is, and its arguments."""
    func = call.func
    if isinstance(func, ast.Attribute) and func.attr not in _READING_METHODS:
        yield func.value
    if is_launch(call) or (isinstance(func, ast.Name) and func.id in _READING_FUNCTIONS):
        return
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        if isinstance(argument, ast.Name | ast.Attribute):
            yield argument


def grow(items: object, how: str, value: object, line: int) -> None:
    """`.append` and `.extend`."""
    if not isinstance(items, list):
        return
    if how == "append":
        items.append(value)
    elif isinstance(value, list | tuple):
        items.extend(value)
    else:
        reason = value.reason if isinstance(value, Unresolved) else f"extended at line {line}"
        poison(items, reason)


def join(scope: Scope, ends: list[Scope], reason: str) -> None:
    """Make `scope` what all ways to here agree on; the rest is unresolved."""
    first, *others = ends
    for mine, theirs in (
        (first.names, [end.names for end in others]),
        (first.attrs, [end.attrs for end in others]),
    ):
        for name in {*mine, *(name for their in theirs for name in their)}:
            if not all(_is_same(mine, their, name) for their in theirs):
                mine[name] = Unresolved(reason)
    scope.names.clear()
    scope.names.update(first.names)
    scope.attrs.clear()
    scope.attrs.update(first.attrs)


def _is_same(left: Mapping[str, object], right: Mapping[str, object], name: str) -> bool:
    """Whether both ways through a condition leave `name` the same."""
    return name in left and name in right and left[name] == right[name]


def augment(node: ast.AugAssign, scope: Scope) -> None:
    """`+=`: in place for a list, as in Python; anew for all else."""
    old, value = evaluate(node.target, scope), evaluate(node.value, scope)
    if isinstance(old, list) and isinstance(value, list | tuple):
        old.extend(value)
        return
    reason = f"changed at line {node.lineno}"
    poison(old, reason)
    if isinstance(node.op, ast.Add) and isinstance(old, str) and isinstance(value, str):
        scope.set(node.target, old + value)
    else:
        scope.set(node.target, Unresolved(reason))


def spoil(nodes: Iterable[ast.AST], scope: Scope, reason: str) -> None:
    """Forget all that these nodes could change."""
    for node in (each for top in nodes for each in ast.walk(top)):
        match node:
            case ast.Name(ctx=ast.Store() | ast.Del()) | ast.Attribute(ctx=ast.Store() | ast.Del()):
                poison(evaluate(node, scope), reason)
                scope.set(node, Unresolved(reason))
            case ast.Subscript(value=owner, ctx=ast.Store() | ast.Del()):
                poison(evaluate(owner, scope), reason)
            case ast.Call():
                for touched in iter_touched(node):
                    poison(evaluate(touched, scope), reason)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                scope.names[name] = Unresolved(reason)


def spoil_attrs(node: Function, scope: Scope, reason: str) -> None:
    """Forget what another method sets on the class."""
    names = get_self_names(node)
    for each in ast.walk(node):
        match each:
            case ast.Attribute(value=ast.Name(id=name), attr=attr, ctx=ast.Store()):
                if name in names:
                    scope.attrs[attr] = Unresolved(reason)

"""Values of Python expressions as far as one file alone decides them. Nothing is imported or run.

Lists are real Python lists, so that `b = a; b.append(x)` changes both, as it does in Python. What
the file does not decide is `Unresolved`, with the reason: never a guess.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

# No launch is longer; `a = a + a` forty times over would be.
_MAX_LENGTH = 100_000


@dataclass(frozen=True)
class Unresolved:
    """What only running the code would tell, and why."""

    reason: str


@dataclass
class ClassValue:
    """A class of this file, seen from outside: `TestFlash.other_args`."""

    attrs: dict[str, object]


@dataclass
class Scope:
    """What names mean at one point of a file.

    attrs: of the class whose method it is; self_names: what that class or its instance is called
    here (`cls`, `self`). volatile: names that some function changes through `global`.
    """

    names: dict[str, object] = field(default_factory=dict)
    attrs: dict[str, object] = field(default_factory=dict)
    self_names: frozenset[str] = frozenset()
    volatile: frozenset[str] = frozenset()

    def copy(self) -> Scope:
        """A scope of its own lists; two names of one list still share it."""
        done: dict[int, object] = {}
        return replace(
            self, names=_copy_values(self.names, done), attrs=_copy_values(self.attrs, done)
        )

    def get_shadowed(self, names: Iterable[str], reason: str) -> Scope:
        """This scope with `names` bound to what nobody knows, for reading only."""
        hidden = {name: Unresolved(reason) for name in names}
        return replace(self, names={**self.names, **hidden}) if hidden else self

    def find_owner(self, node: ast.expr) -> dict[str, object] | None:
        """Where the attributes of `node` live, if it is a class of this file."""
        if not isinstance(node, ast.Name):
            return None
        if node.id in self.self_names:
            return self.attrs
        value = self.names.get(node.id)
        return value.attrs if isinstance(value, ClassValue) else None

    def set(self, target: ast.expr, value: object) -> None:
        """Assign to a name, an attribute of a class of this file, or a tuple of those."""
        match target:
            case ast.Name(id=name):
                self.names[name] = value
            case ast.Attribute(value=node, attr=attr):
                owner = self.find_owner(node)
                if owner is not None:
                    owner[attr] = value
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                values = get_parts(value, parts)
                for part, one in zip(parts, values, strict=True):
                    self.set(part, one)
            case ast.Starred(value=inner):
                self.set(inner, Unresolved("unpacked with a star"))
            case ast.Subscript(value=node):
                poison(evaluate(node, self), f"one item set at line {target.lineno}")


def _copy_values(values: dict[str, object], done: dict[int, object]) -> dict[str, object]:
    """A copy in which what was one list is one list again; `done` holds those made so far.

    A file has hundreds of names and some lists: `copy.deepcopy` visits all of them, at a hundred
    times the cost.
    """
    known = done.get(id(values))
    if isinstance(known, dict):
        return known
    copied = done[id(values)] = dict[str, object]()
    copied.update((name, _copy_value(value, done)) for name, value in values.items())
    return copied


def _copy_value(value: object, done: dict[int, object]) -> object:
    if isinstance(value, ClassValue):
        return ClassValue(_copy_values(value.attrs, done))
    if isinstance(value, tuple):
        return tuple(_copy_value(item, done) for item in value)
    if not isinstance(value, list):
        return value
    known = done.get(id(value))
    if known is None:
        known = done[id(value)] = list[object]()
        known += [_copy_value(item, done) for item in value]
    return known


def get_parts(value: object, parts: list[ast.expr]) -> list[object]:
    """The values that an unpacking gives to each of its targets."""
    is_plain = not any(isinstance(part, ast.Starred) for part in parts)
    if is_plain and isinstance(value, list | tuple) and len(value) == len(parts):
        return list(value)
    reason = value.reason if isinstance(value, Unresolved) else "unpacked"
    return [Unresolved(reason)] * len(parts)


def poison(value: object, reason: str) -> None:
    """Make a list, and all that share it, something that nobody knows."""
    if isinstance(value, list):
        value[:] = [Unresolved(reason)]


def evaluate(node: ast.expr, scope: Scope) -> object:
    """The value of an expression: str, int, float, bool, None, list, tuple, or Unresolved."""
    match node:
        case ast.Constant(value=value) if isinstance(value, str | int | float | None):
            return value
        case ast.Name(id=name):
            if name in scope.volatile:
                return Unresolved(f"{name} is changed through `global`")
            return scope.names.get(name, Unresolved(f"{name} is not set in this file"))
        case ast.Attribute(value=owner_node, attr=attr):
            owner = scope.find_owner(owner_node)
            missing = Unresolved(f"{ast.unparse(node)} is not set in this file")
            return missing if owner is None else owner.get(attr, missing)
        case ast.List(elts=items):
            return _spread(items, scope)
        case ast.Tuple(elts=items):
            return tuple(_spread(items, scope))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _add(evaluate(left, scope), evaluate(right, scope))
        case ast.JoinedStr(values=parts):
            return _join(parts, scope)
        case ast.IfExp(test=test):
            return Unresolved(f"depends on a condition: {ast.unparse(test)}")
        case ast.Call():
            return _call(node, scope)
    return Unresolved(f"not a constant: {_shorten(ast.unparse(node))}")


def _spread(items: list[ast.expr], scope: Scope) -> list[object]:
    """The items of a list or tuple display, its starred ones spread out."""
    values: list[object] = []
    for item in items:
        if not isinstance(item, ast.Starred):
            values.append(evaluate(item, scope))
            continue
        inner = evaluate(item.value, scope)
        if isinstance(inner, list | tuple):
            values += inner
        else:
            reason = inner.reason if isinstance(inner, Unresolved) else "a star before no list"
            values.append(Unresolved(reason))
    return values


def _add(left: object, right: object) -> object:
    for side in (left, right):
        if isinstance(side, Unresolved):
            return side
    if isinstance(left, list) and isinstance(right, list):
        return _bound(left, right) or left + right
    if isinstance(left, tuple) and isinstance(right, tuple):
        return _bound(left, right) or left + right
    if isinstance(left, str) and isinstance(right, str):
        return _bound(left, right) or left + right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left + right
    return Unresolved(f"{type(left).__name__} + {type(right).__name__}")


def _bound(*parts: list[object] | tuple[object, ...] | str) -> Unresolved | None:
    is_long = sum(map(len, parts)) > _MAX_LENGTH
    return Unresolved("longer than any launch") if is_long else None


def _join(parts: list[ast.expr], scope: Scope) -> object:
    """An f-string: of constants, without conversions and formats."""
    text = ""
    for part in parts:
        if isinstance(part, ast.FormattedValue):
            if part.conversion != -1 or part.format_spec is not None:
                return Unresolved(f"formatted: {_shorten(ast.unparse(part.value))}")
            value = evaluate(part.value, scope)
        else:
            value = evaluate(part, scope)
        if isinstance(value, Unresolved):
            return value
        if not isinstance(value, str | int | float):
            return Unresolved(f"{type(value).__name__} in an f-string")
        text += str(value)
        if len(text) > _MAX_LENGTH:
            return Unresolved("longer than any launch")
    return text


def _call(node: ast.Call, scope: Scope) -> object:
    """`str(x)`, `int(x)`, `list(x)`, `tuple(x)`, `x.copy()`, `"a b".split()`; no other call."""
    unknown = Unresolved(f"a call: {_shorten(ast.unparse(node))}")
    match node:
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            if name in scope.names:  # the file has its own `list`
                return unknown
            return _convert(name, evaluate(argument, scope), unknown)
        case ast.Call(func=ast.Attribute(value=owner, attr="copy"), args=[], keywords=[]):
            value = evaluate(owner, scope)
            return list(value) if isinstance(value, list) else unknown
        case ast.Call(func=ast.Attribute(value=owner, attr="split"), args=[], keywords=[]):
            value = evaluate(owner, scope)
            return list(value.split()) if isinstance(value, str) else unknown
    return unknown


def _convert(name: str, value: object, unknown: Unresolved) -> object:
    if isinstance(value, Unresolved):
        return value
    if name == "str" and isinstance(value, str | int | float):
        return str(value)
    if name == "int" and isinstance(value, int):
        return int(value)
    if name == "list" and isinstance(value, list | tuple):
        return list(value)
    if name == "tuple" and isinstance(value, list | tuple):
        return tuple(value)
    return unknown


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"

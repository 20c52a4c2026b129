"""What an expression in a test file means, as far as that file decides it.

Understood, and nothing else:

* constants: text, numbers, booleans, None;
* a name that is assigned once where it lives: in its function or its module;
* `cls.x`, `self.x`, `TestFlash.x`: what is assigned once in the same method, else once in the
  class's set-up methods, else once in the body of the class, or of the first base that has it;
* lists and tuples of these, `*items` inside them, `+`, f-strings without formats, and `str(…)`,
  `list(…)`, `tuple(…)` of one of these.

All else is `Unresolved`, with the reason: what a condition, a loop, `+=`, a call or another file
would decide. So is a list that the file may change, under any name. Nothing is imported or run.
"""

from __future__ import annotations

import ast
from typing import Any

from warmup.drift.names import NameScope, Unresolved

SETUPS = ("setUpClass", "setup_class", "setUp", "asyncSetUp", "setup_method")
# No launch is longer; forty names that each double the one before would be.
_MAX_LENGTH = 100_000
_TOO_LONG = Unresolved("longer than any launch")


def evaluate(node: ast.expr, scope: NameScope, cls: NameScope | None) -> object:
    """A constant, list, tuple, class or Unresolved. cls: the class whose method this is in."""
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name(id=name):
            return _get_name(name, scope, cls, node.lineno)
        case ast.Attribute(value=ast.Name(id=name), attr=attr):
            owner = scope.find_owner(name)
            if cls is not None and owner is not None and owner.self_name == name:
                return get_attribute(cls, attr, scope, node.lineno)
            named = _get_name(name, scope, cls, node.lineno)
            if isinstance(named, NameScope):
                return get_attribute(named, attr)
            return Unresolved(f"{name}.{attr} is not set in this file")
        case ast.List(elts=items) | ast.Tuple(elts=items):
            values = _spread(items, scope, cls)
            return values if isinstance(node, ast.List) else tuple(values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _add(evaluate(left, scope, cls), evaluate(right, scope, cls))
        case ast.JoinedStr(values=parts):
            return _join(parts, scope, cls)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            if scope.find_owner(name) is None:
                return _convert(name, evaluate(argument, scope, cls), node)
        case ast.IfExp(test=test):
            return Unresolved(f"depends on a condition: {_shorten(test)}")
    kind = "a call" if isinstance(node, ast.Call) else "not a constant"
    return Unresolved(f"{kind}: {_shorten(node)}")


def get_mro(cls: NameScope) -> list[NameScope]:
    """The class, then its bases as far as this file has them, each once."""
    order: list[NameScope] = []
    todo = [cls]
    while todo:
        each = todo.pop(0)
        if each not in order and each.outer is not None:
            order.append(each)
            bases = [evaluate(base, each.outer, None) for base in each.bases]
            todo = [base for base in bases if isinstance(base, NameScope)] + todo
    return order


def get_methods(cls: NameScope) -> dict[NameScope, NameScope]:
    """The methods that its instances run, and whose they are; those under `super().x()` too."""
    methods: dict[NameScope, NameScope] = {}
    mro = get_mro(cls)
    for name in dict.fromkeys(name for each in mro for name in each.methods):
        for each in mro:
            if name in each.methods:
                methods[each.methods[name]] = each
                called = [ast.unparse(call.func) for call in each.methods[name].calls]
                if f"super().{name}" not in called:
                    break
    return methods


def get_attribute(
    cls: NameScope, attr: str, scope: NameScope | None = None, line: int = 0
) -> object:
    """scope, line: who asks for `cls.attr`, and where; None where it is asked from outside."""
    key = f"self.{attr}"
    own = scope.method if scope is not None else None
    if own is not None and key in own.names:
        return _get_bound(key, own, cls, line)
    setters = [method for method in get_methods(cls) if key in method.names]
    for method in setters:
        if method.name not in SETUPS:
            return Unresolved(f"{attr} is set in {method.name}()")
    if len(setters) > 1:
        return Unresolved(f"{attr} is assigned more than once")
    if setters:
        return _get_bound(key, setters[0], cls)
    for each in get_mro(cls):
        if attr in each.names:
            return _get_bound(attr, each, cls)
    return Unresolved(f"{attr} is not set in this file", is_missing=True)


def _get_name(name: str, scope: NameScope, cls: NameScope | None, line: int) -> object:
    owner = scope.find_owner(name)
    if owner is None:
        return Unresolved(f"{name} is not set in this file")
    return _get_bound(name, owner, cls, line if owner is scope else 0)


def _get_bound(key: str, owner: NameScope, cls: NameScope | None, line: int = 0) -> object:
    """line: where it is used, if in the same scope; what is set only later is not it."""
    name = key.removeprefix("self.")
    first, *others = owner.names[key]
    if not first.is_sure and (owner.is_class or name != key):
        # Unlike a plain name, an attribute may have been something else before.
        return Unresolved(f"{name} depends on a condition at line {first.line}")
    if others or name in owner.volatile:
        return Unresolved(f"{name} is assigned more than once")
    if line and first.line > line:
        return Unresolved(f"{name} is set only at line {first.line}")
    if cls not in first.known:
        first.known[cls] = Unresolved("it refers to itself")
        known = first.value
        first.known[cls] = evaluate(known, owner, cls) if isinstance(known, ast.expr) else known
    value = first.known[cls]
    if isinstance(value, list) and name in owner.changed:
        return Unresolved(f"{name} may be changed at line {owner.changed[name]}")
    return value


def _spread(items: list[ast.expr], scope: NameScope, cls: NameScope | None) -> list[object]:
    """The items of a list or tuple display, its starred ones spread out."""
    values: list[object] = []
    for item in items:
        if not isinstance(item, ast.Starred):
            values.append(evaluate(item, scope, cls))
            continue
        value = evaluate(item.value, scope, cls)
        values += value if isinstance(value, list | tuple) else [_refuse(value)]
        if len(values) > _MAX_LENGTH:
            return [_TOO_LONG]
    return values


def _join(parts: list[ast.expr], scope: NameScope, cls: NameScope | None) -> object:
    """An f-string."""
    text = ""
    for part in parts:
        inner = part.value if isinstance(part, ast.FormattedValue) else part
        if isinstance(part, ast.FormattedValue) and (part.format_spec or part.conversion != -1):
            return Unresolved(f"formatted: {_shorten(inner)}")
        value = evaluate(inner, scope, cls)
        if not isinstance(value, str | int | float):
            return _refuse(value)
        text += str(value)
        if len(text) > _MAX_LENGTH:
            return _TOO_LONG
    return text


def _add(left: object, right: object) -> object:
    for side in (left, right):
        if isinstance(side, Unresolved):
            return side
    both: Any = left, right
    if type(left) is type(right) and isinstance(left, list | tuple | str):
        return _TOO_LONG if len(both[0]) + len(both[1]) > _MAX_LENGTH else both[0] + both[1]
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left + right
    return Unresolved(f"{type(left).__name__} + {type(right).__name__}")


def _convert(name: str, value: object, call: ast.Call) -> object:
    if name == "str" and isinstance(value, str | int | float):
        return str(value)
    if name in ("list", "tuple") and isinstance(value, list | tuple):
        return list(value) if name == "list" else tuple(value)
    return value if isinstance(value, Unresolved) else Unresolved(f"a call: {_shorten(call)}")


def _refuse(value: object) -> Unresolved:
    return value if isinstance(value, Unresolved) else Unresolved(f"a {type(value).__name__}")


def _shorten(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 80 else f"{text[:79]}…"

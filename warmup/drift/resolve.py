"""What an expression in a test file means, as far as the files that were given decide it.

Understood, and nothing else:

* constants: text, numbers, booleans, None;
* a name that is assigned once where it lives: in its function, its module, or the module that it
  is imported from, if that file was given too;
* `cls.x`, `self.x`, `TestFlash.x`: what is assigned once in the same method, else once in the
  class's set-up methods, else once in the body of the class, or of the first base that has it;
* lists and tuples of these, `*items` inside them, `+`, f-strings without formats, and `str(…)`,
  `list(…)`, `tuple(…)` of one of these.

All else is `Unresolved`, with the reason: what a condition, a loop, `+=` or a call would decide. So
is a list that the file may change, under any name. Nothing is imported or run.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from warmup.drift.scopes import Binding, Class, Imported, Module, NameScope

SETUPS = ("setUpClass", "setup_class", "setUp", "asyncSetUp", "setup_method")
# No launch is longer; forty names that each double the one before would be.
_MAX_LENGTH = 100_000


@dataclass(frozen=True)
class Unresolved:
    """What only running the code would tell, and why. is_missing: nothing sets it."""

    reason: str
    is_missing: bool = False


class Resolver:
    """find_module: the module that `from SOURCE import …` in a module reads, if it was given."""

    def __init__(self, find_module: Callable[[Module, str], Module | None]) -> None:
        self._find_module = find_module
        self._memo: dict[tuple[Binding, Class | None], object] = {}

    def evaluate(self, node: ast.expr, scope: NameScope, cls: Class | None) -> object:
        """A constant, list, tuple, Class or Unresolved. cls: the class whose method this is in."""
        match node:
            case ast.Constant(value=str() | int() | float() | None as value):
                return value
            case ast.Name(id=name):
                return self._get_name(name, scope, cls, node.lineno)
            case ast.Attribute(value=ast.Name(id=name), attr=attr):
                if cls is not None and name == scope.self_name:
                    return self.get_attribute(cls, attr, scope, node.lineno)
                owner = self._get_name(name, scope, cls, node.lineno)
                if isinstance(owner, Class):
                    return self.get_attribute(owner, attr)
                return Unresolved(f"{name}.{attr} is not set in this file")
            case ast.List(elts=items) | ast.Tuple(elts=items):
                values = self._spread(items, scope, cls)
                return values if isinstance(node, ast.List) else tuple(values)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return _add(self.evaluate(left, scope, cls), self.evaluate(right, scope, cls))
            case ast.JoinedStr(values=parts):
                return self._join(parts, scope, cls)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
                if scope.find_owner(name) is None:
                    return _convert(name, self.evaluate(argument, scope, cls), node)
            case ast.IfExp(test=test):
                return Unresolved(f"depends on a condition: {_shorten(test)}")
        kind = "a call" if isinstance(node, ast.Call) else "not a constant"
        return Unresolved(f"{kind}: {_shorten(node)}")

    def get_mro(self, cls: Class) -> list[Class]:
        """The class, then its bases as far as they are known, each once."""
        order: list[Class] = []
        todo = [cls]
        while todo:
            each = todo.pop(0)
            if each not in order:
                order.append(each)
                bases = (self.evaluate(base, each.outer, None) for base in each.node.bases)
                todo = [base for base in bases if isinstance(base, Class)] + todo
        return order

    def get_methods(self, cls: Class) -> dict[NameScope, Class]:
        """The methods that its instances run, and whose they are; those under `super().x()` too."""
        methods: dict[NameScope, Class] = {}
        mro = self.get_mro(cls)
        for name in dict.fromkeys(name for each in mro for name in each.methods):
            for each in mro:
                if name in each.methods:
                    methods[each.methods[name]] = each
                    if not each.methods[name].calls_super:
                        break
        return methods

    def get_attribute(
        self, cls: Class, attr: str, scope: NameScope | None = None, line: int = 0
    ) -> object:
        """scope, line: who asks for `cls.attr`, and where; None where it is asked from outside."""
        key = f"self.{attr}"
        own = scope.method if scope is not None else None
        if own is not None and key in own.names:
            return self._get_one(key, own, cls, line)
        found: list[NameScope] = []
        for method in self.get_methods(cls):
            if key in method.names:
                if method.name not in SETUPS:
                    return Unresolved(f"{attr} is set in {method.name}()")
                found.append(method)
        if len(found) > 1:
            return Unresolved(f"{attr} is assigned more than once")
        if found:
            return self._get_one(key, found[0], cls)
        for each in self.get_mro(cls):
            if attr in each.scope.names:
                return self._get_one(attr, each.scope, cls)
        return Unresolved(f"{attr} is not set in this file", is_missing=True)

    def _get_one(self, key: str, scope: NameScope, cls: Class | None, line: int = 0) -> object:
        """What an attribute is set to; unlike a name, it may have been something else before."""
        first = scope.names[key][0]
        if not first.is_sure:
            return Unresolved(f"{_name(key)} depends on a condition at line {first.line}")
        return self._get_bound(key, scope, cls, line)

    def _get_name(self, name: str, scope: NameScope, cls: Class | None, line: int) -> object:
        owner = scope.find_owner(name)
        if owner is not None:
            return self._get_bound(name, owner, cls, line if owner is scope else 0)
        for source in scope.module.stars:
            other = self._find_module(scope.module, source)
            if other is not None and name in other.scope.names:
                return self._get_bound(name, other.scope, None)
        return Unresolved(f"{name} is not set in this file")

    def _get_bound(self, key: str, scope: NameScope, cls: Class | None, line: int = 0) -> object:
        """line: where it is used, if in the same scope; what is set only later is not it."""
        first, *others = scope.names[key]
        if others or _name(key) in scope.module.volatile:
            return Unresolved(f"{_name(key)} is assigned more than once")
        if line and first.line > line:
            return Unresolved(f"{_name(key)} is set only at line {first.line}")
        if (first, cls) not in self._memo:
            self._memo[first, cls] = Unresolved("it refers to itself")
            self._memo[first, cls] = self._read(first, scope, cls)
        value = self._memo[first, cls]
        changed = scope.module.changed.get(_name(key))
        if changed is not None and isinstance(value, list):
            return Unresolved(f"{_name(key)} may be changed at line {changed}")
        return value

    def _read(self, binding: Binding, scope: NameScope, cls: Class | None) -> object:
        match binding.value:
            case Imported(source=source, name=name):
                other = self._find_module(scope.module, source)
                if other is not None and name in other.scope.names:
                    return self._get_bound(name, other.scope, None)
                return Unresolved(f"{name} is imported")
            case str(reason):
                return Unresolved(reason)
            case Class() as value:
                return value
            case value:
                return self.evaluate(value, scope, cls)

    def _spread(self, items: list[ast.expr], scope: NameScope, cls: Class | None) -> list[object]:
        """The items of a list or tuple display, its starred ones spread out."""
        values: list[object] = []
        for item in items:
            inner = item.value if isinstance(item, ast.Starred) else item
            value = self.evaluate(inner, scope, cls)
            if isinstance(item, ast.Starred) and isinstance(value, list | tuple):
                values += value
            else:
                values.append(_check(value) if isinstance(item, ast.Starred) else value)
            if len(values) > _MAX_LENGTH:
                return [Unresolved("longer than any launch")]
        return values

    def _join(self, parts: list[ast.expr], scope: NameScope, cls: Class | None) -> object:
        text = ""
        for part in parts:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            if isinstance(part, ast.FormattedValue) and (part.format_spec or part.conversion != -1):
                return Unresolved(f"formatted: {_shorten(inner)}")
            value = self.evaluate(inner, scope, cls)
            if not isinstance(value, str | int | float):
                return _check(value)
            text += str(value)
            if len(text) > _MAX_LENGTH:
                return Unresolved("longer than any launch")
        return text


def _name(key: str) -> str:
    return key.removeprefix("self.")


def _add(left: object, right: object) -> object:
    for side in (left, right):
        if isinstance(side, Unresolved):
            return side
    kind = type(left)
    if kind in (list, tuple, str) and kind is type(right):
        joined: Any = left, right
        is_long = len(joined[0]) + len(joined[1]) > _MAX_LENGTH
        return Unresolved("longer than any launch") if is_long else joined[0] + joined[1]
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left + right
    return Unresolved(f"{type(left).__name__} + {type(right).__name__}")


def _convert(name: str, value: object, call: ast.Call) -> object:
    if name == "str" and isinstance(value, str | int | float):
        return str(value)
    if name in ("list", "tuple") and isinstance(value, list | tuple):
        return list(value) if name == "list" else tuple(value)
    return value if isinstance(value, Unresolved) else Unresolved(f"a call: {_shorten(call)}")


def _check(value: object) -> Unresolved:
    return value if isinstance(value, Unresolved) else Unresolved(f"a {type(value).__name__}")


def _shorten(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 80 else f"{text[:79]}…"

"""What one Python file binds, by scope, and which of its lists something may change."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from warmup.drift.launchers import find_launcher

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Below these a statement may run or not, once or often.
_CONDITIONS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.ExceptHandler, ast.Match)
# Calls that leave the lists they are given as they are.
_READERS = {"print", "len", "str", "repr", "list", "tuple", "sorted", "set", "isinstance"}
_READERS |= {"enumerate", "zip", "any", "all", "join", "copy", "index", "count", "items"}
# Inside these a list is copied or read, not handed on.
_COPIES = (ast.BinOp, ast.JoinedStr, ast.Call, ast.Compare, ast.Lambda, ast.Starred)


@dataclass(frozen=True)
class Imported:
    """`from source import name`; source with its leading dots."""

    source: str
    name: str


@dataclass(frozen=True, eq=False)
class Binding:
    """value: a text says why it is not known. is_sure: not below a condition or a loop."""

    line: int
    value: ast.expr | Imported | Class | str
    is_sure: bool = True


@dataclass(eq=False)
class NameScope:
    """A module, a function or a class body; a lambda or comprehension counts for what is around.

    names: each with all that binds it; what is set on `self_name` stands under `self.x` in the
    method's own.
    """

    module: Module
    name: str
    outer: NameScope | None
    is_class: bool = False
    self_name: str = ""
    names: dict[str, list[Binding]] = field(default_factory=dict)
    calls: list[ast.Call] = field(default_factory=list)
    inner: list[NameScope] = field(default_factory=list)

    @property
    def method(self) -> NameScope | None:
        """The method that this is, or is nested in."""
        scope: NameScope | None = self
        while scope is not None and not (scope.outer is not None and scope.outer.is_class):
            scope = scope.outer
        return scope

    @property
    def calls_super(self) -> bool:
        """Whether this method runs that of a base, too."""
        return any(ast.unparse(call.func) == f"super().{self.name}" for call in self.calls)

    def find_owner(self, name: str) -> NameScope | None:
        """The scope that binds a name which is used here, as Python looks it up."""
        scope: NameScope | None = self
        while scope is not None and (name not in scope.names or (scope.is_class and scope != self)):
            scope = scope.outer
        return scope

    def bind(self, name: str, binding: Binding) -> None:
        self.names.setdefault(name, []).append(binding)

    def iter_all(self) -> Iterator[NameScope]:
        """This scope and all inside it."""
        yield self
        for each in self.inner:
            yield from each.iter_all()


@dataclass(frozen=True, eq=False)
class Class:
    node: ast.ClassDef
    scope: NameScope
    outer: NameScope

    @property
    def methods(self) -> dict[str, NameScope]:
        return {each.name: each for each in self.scope.inner if not each.is_class}


class Module:
    """One file. stars: sources of `import *`. volatile: names that are set from elsewhere.

    changed: names of lists that something may change, each with the line.
    """

    def __init__(self, path: Path, tree: ast.Module) -> None:
        self.path = path
        self.scope = NameScope(self, "", None)
        self.classes: list[Class] = []
        self.stars: list[str] = []
        self.volatile: set[str] = set()
        self._tree = tree
        self._fill(self.scope, tree.body)

    @cached_property
    def changed(self) -> dict[str, int]:
        return _find_changed(self._tree)

    def _fill(self, scope: NameScope, body: Sequence[ast.AST]) -> None:
        todo = [(node, True) for node in reversed(body)]
        while todo:
            node, is_sure = todo.pop()
            rest = self._note(scope, node, is_sure)
            is_sure = is_sure and not isinstance(node, _CONDITIONS)
            todo += [(child, is_sure) for child in reversed(rest)]

    def _note(self, scope: NameScope, node: ast.AST, is_sure: bool) -> list[ast.AST]:
        """What one node binds and calls. Returns those inside it that are still to be noted."""
        match node:
            case ast.Assign(targets=targets, value=value):
                left = [each for each in targets if not _assign(scope, each, value, is_sure)]
                return [value, *left]
            case ast.AnnAssign(target=target, value=value):
                if value is None or _assign(scope, target, value, is_sure):
                    return [] if value is None else [value]
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                reason = f"{name} is set at line {node.lineno}, not by an assignment alone"
                scope.bind(name, Binding(node.lineno, reason, is_sure))
            case ast.Attribute(attr=attr, ctx=ast.Store() | ast.Del()):
                self.volatile.add(attr)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                self.volatile.update(names)
            case ast.Call():
                scope.calls.append(node)
            case ast.Import() | ast.ImportFrom():
                self._import(scope, node)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._define(scope, node)
                return [*node.decorator_list]
            case ast.ClassDef(name=name, body=body):
                cls = Class(node, NameScope(self, name, scope, is_class=True), scope)
                self.classes.append(cls)
                scope.inner.append(cls.scope)
                scope.bind(name, Binding(node.lineno, cls))
                self._fill(cls.scope, body)
                return [*node.decorator_list]
            case ast.arg(arg=name):
                scope.bind(name, Binding(0, f"{name} is a parameter"))
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
                | ast.MatchMapping(rest=str(name))
            ):
                scope.bind(name, Binding(0, f"{name} is set by a match or an exception"))
        return list(ast.iter_child_nodes(node))

    def _import(self, scope: NameScope, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            if isinstance(node, ast.Import):
                scope.bind(name, Binding(node.lineno, f"{name} is imported"))
                continue
            source = "." * node.level + (node.module or "")
            if alias.name == "*":
                self.stars.append(source)
            else:
                scope.bind(name, Binding(node.lineno, Imported(source, alias.name)))

    def _define(self, scope: NameScope, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        scope.bind(node.name, Binding(node.lineno, f"{node.name} is a function"))
        own = [*node.args.posonlyargs, *node.args.args][:1] if scope.is_class else []
        if any(ast.unparse(each) == "staticmethod" for each in node.decorator_list):
            own = []
        inner = NameScope(self, node.name, scope)
        inner.self_name = own[0].arg if own else "" if scope.is_class else scope.self_name
        scope.inner.append(inner)
        self._fill(inner, [node.args, *node.body])
        if not own and inner.self_name in inner.names:
            inner.self_name = ""  # a nested function's own parameter or variable


def _assign(scope: NameScope, target: ast.expr, value: ast.expr, is_sure: bool) -> bool:
    """Bind a name, or an attribute of self; whether it was one."""
    match target:
        case ast.Name(id=name):
            scope.bind(name, Binding(target.lineno, value, is_sure))
            return True
        case ast.Attribute(value=ast.Name(id=name), attr=attr):
            if scope.method is not None and name == scope.self_name:
                scope.method.bind(f"self.{attr}", Binding(target.lineno, value, is_sure))
                return True
    return False


def _find_changed(tree: ast.Module) -> dict[str, int]:
    """Names by which a list may be changed, and those of all that it may hold.

    By the name's text alone, in whatever scope: too many, never too few.
    """
    changed: dict[str, int] = {}
    holds: list[tuple[str, str]] = []  # whoever changes the first may change the second
    for node in ast.walk(tree):
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        source = getattr(node, "value", None) or getattr(node, "iter", None)
        pairs = [(one, other) for each in targets for one in _refs(each) for other in _refs(source)]
        holds += pairs
        if isinstance(source, ast.Name | ast.Attribute):
            holds += [(other, one) for one, other in pairs]
        touched: list[ast.AST | None] = []
        match node:
            case ast.AugAssign(target=owner):
                touched = [owner]
            case ast.Subscript(value=owner, ctx=ast.Store() | ast.Del()):
                touched = [owner]
            case ast.Return(value=owner) | ast.Yield(value=owner):
                touched = [owner]
            case ast.Call(func=func, args=args, keywords=keywords):
                name = getattr(func, "attr", getattr(func, "id", ""))
                if name not in _READERS and find_launcher(node) is None:
                    touched = [getattr(func, "value", None), *args, *(k.value for k in keywords)]
        changed |= {ref: node.lineno for each in touched for ref in _refs(each)}  # type: ignore[attr-defined]
    size = -1
    while size != len(changed):
        size = len(changed)
        for one, other in holds:
            if one in changed:
                changed.setdefault(other, changed[one])
    return changed


def _refs(node: ast.AST | None) -> Iterator[str]:
    """The names in an expression whose own object is in its value, not a copy of it."""
    if isinstance(node, ast.Name | ast.Attribute):
        yield node.id if isinstance(node, ast.Name) else node.attr
    elif node is not None and not isinstance(node, _COPIES):
        for child in ast.iter_child_nodes(node):
            yield from _refs(child)

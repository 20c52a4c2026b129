"""What one Python file binds, by scope, and which of its lists something may change."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from warmup.drift.launchers import find_launcher

# Below these a statement may run or not, once or often.
_CONDITIONS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.ExceptHandler, ast.Match)
# Calls that leave the lists they are given as they are.
_READERS = {"print", "len", "str", "repr", "list", "tuple", "sorted", "set", "isinstance"}
_READERS |= {"enumerate", "zip", "any", "all", "join", "copy", "index", "count", "items"}
# Inside these a list is copied or read, not handed on.
_COPIES = (ast.BinOp, ast.JoinedStr, ast.Call, ast.Compare, ast.Lambda, ast.Starred)


@dataclass(frozen=True)
class Unresolved:
    """What only running the code would tell, and why. is_missing: nothing sets it."""

    reason: str
    is_missing: bool = False


@dataclass(eq=False)
class Binding:
    """is_sure: not below a condition or a loop. known: what it means, by the class that asks."""

    line: int
    value: ast.expr | NameScope | Unresolved
    is_sure: bool = True
    known: dict[NameScope | None, object] = field(default_factory=dict)


class NameScope:
    """A module, a class or a function; a lambda or comprehension counts for what is around it.

    names: each with all that binds it; what a method sets on `self_name` stands under `self.x`.
    volatile: names of the file that are set from elsewhere. changed: names of its lists that
    something may change, each with the line.
    """

    def __init__(self, node: ast.AST, outer: NameScope | None = None) -> None:
        self.node, self.outer = node, outer
        self.name: str = getattr(node, "name", "")
        self.line: int = getattr(node, "lineno", 0)
        self.names: dict[str, list[Binding]] = {}
        self.calls: list[ast.Call] = []
        self.inner: list[NameScope] = []
        self.self_name = ""
        self.volatile: set[str] = outer.volatile if outer else set()
        self.changed: dict[str, int] = outer.changed if outer else _find_changed(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and outer and outer.is_class:
            first = [*node.args.posonlyargs, *node.args.args][:1]
            is_static = any(ast.unparse(each) == "staticmethod" for each in node.decorator_list)
            self.self_name = first[0].arg if first and not is_static else ""
        scopes = list(self._bind_all())
        self.inner += [NameScope(each, self) for each in scopes]
        for scope in self.inner:
            value = scope if scope.is_class else Unresolved(f"{scope.name} is a function")
            self._bind(scope.name, Binding(scope.line, value))

    @property
    def is_class(self) -> bool:
        return isinstance(self.node, ast.ClassDef)

    @property
    def bases(self) -> list[ast.expr]:
        return self.node.bases if isinstance(self.node, ast.ClassDef) else []

    @property
    def methods(self) -> dict[str, NameScope]:
        return {each.name: each for each in self.inner if not each.is_class}

    @property
    def method(self) -> NameScope | None:
        """The method that this is, or is nested in."""
        scope: NameScope | None = self
        while scope is not None and not (scope.outer is not None and scope.outer.is_class):
            scope = scope.outer
        return scope

    def find_owner(self, name: str) -> NameScope | None:
        """The scope that binds a name which is used here, as Python looks it up."""
        scope: NameScope | None = self
        while scope is not None and (name not in scope.names or (scope.is_class and scope != self)):
            scope = scope.outer
        return scope

    def iter_all(self) -> Iterator[NameScope]:
        """This scope and all inside it."""
        yield self
        for each in self.inner:
            yield from each.iter_all()

    def _bind(self, name: str, binding: Binding) -> None:
        self.names.setdefault(name, []).append(binding)

    def _bind_all(self) -> Iterator[ast.AST]:
        """Note what this scope binds and calls. Yields the functions and classes inside it."""
        todo = [(node, True) for node in reversed(list(ast.iter_child_nodes(self.node)))]
        while todo:
            node, is_sure = todo.pop()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node
                continue
            assigned = self._assign(node, is_sure)
            self._note(node, is_sure)
            is_sure = is_sure and not isinstance(node, _CONDITIONS)
            rest = [each for each in ast.iter_child_nodes(node) if each not in assigned]
            todo += [(each, is_sure) for each in reversed(rest)]

    def _assign(self, node: ast.AST, is_sure: bool) -> list[ast.expr]:
        """Bind what `NAME = …` and `self.NAME = …` set. Returns these targets."""
        match node:
            case ast.Assign(targets=targets, value=value):
                pass
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                targets = [target]
            case ast.AnnAssign(target=target):
                return [target]
            case _:
                return []
        plain: list[ast.expr] = []
        for each in targets:
            binding = Binding(each.lineno, value, is_sure)
            match each:
                case ast.Name(id=name):
                    self._bind(name, binding)
                    plain.append(each)
                case ast.Attribute(value=ast.Name(id=name), attr=attr):
                    owner = self.find_owner(name)
                    if owner is not None and owner.self_name == name:
                        owner._bind(f"self.{attr}", binding)
                        plain.append(each)
        return plain

    def _note(self, node: ast.AST, is_sure: bool) -> None:
        """What a node calls, and what it binds by other means than an assignment alone."""
        name, reason = "", ""
        match node:
            case ast.Call():
                self.calls.append(node)
            case ast.Attribute(attr=attr, ctx=ast.Store() | ast.Del()):
                self.volatile.add(attr)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                self.volatile.update(names)
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                reason = f"is set at line {node.lineno}, not by an assignment alone"
            case ast.alias():
                name, reason = node.asname or node.name.partition(".")[0], "is imported"
            case ast.arg(arg=name):
                reason = "is a parameter"
            case ast.ExceptHandler(name=str(name)) | ast.MatchMapping(rest=str(name)):
                reason = "is set by a match or an exception"
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                reason = "is set by a match or an exception"
        if reason:
            line = getattr(node, "lineno", 0) if isinstance(node, ast.Name | ast.alias) else 0
            self._bind(name, Binding(line, Unresolved(f"{name} {reason}"), is_sure))


def _find_changed(tree: ast.AST) -> dict[str, int]:
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
            case ast.AugAssign(target=owner) | ast.Return(value=owner) | ast.Yield(value=owner):
                touched = [owner]
            case ast.Subscript(value=owner, ctx=ast.Store() | ast.Del()):
                touched = [owner]
            case ast.Call(func=func, args=args, keywords=keywords):
                name = getattr(func, "attr", getattr(func, "id", ""))
                if name not in _READERS and find_launcher(node) is None:
                    touched = [getattr(func, "value", None), *args, *(k.value for k in keywords)]
        changed |= {ref: getattr(node, "lineno", 0) for each in touched for ref in _refs(each)}
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

"""Walk one Python file in the order it would run, and note each server launch on the way.

Module, then functions and classes with what the module has set by its end; of a class `setUpClass`
and `setUp` first, then each other method with what those have set. Both ways of a condition are
walked; what they leave different is unresolved after it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from warmup.drift.calls import (
    ARGS_ATTRIBUTE,
    MODEL_ATTRIBUTE,
    FoundLaunch,
    get_args,
    iter_calls,
    make_found,
    read_call,
)
from warmup.drift.effects import (
    Function,
    augment,
    get_self_names,
    grow,
    iter_touched,
    join,
    spoil,
    spoil_attrs,
)
from warmup.drift.values import ClassValue, Scope, Unresolved, evaluate, poison

_SETUPS = ("setUpClass", "setup_class", "setUp", "asyncSetUp", "setup_method")
_MAX_STATEMENTS = 200_000
_MAX_ROUNDS = 64
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# `except*` is 3.11's; for what is known afterwards it is no different.
_TRIES = (ast.Try, ast.TryStar) if sys.version_info >= (3, 11) else (ast.Try,)


class TooComplex(Exception):
    """A file with more in it than any test has."""


@dataclass
class _Class:
    node: ast.ClassDef
    bases: list[_Class]
    attrs: dict[str, object]
    methods: dict[str, Function]
    has_child: bool = False
    own: set[str] = field(default_factory=set)

    def find_inherited(self, name: str) -> Function | None:
        """The method of a base class of this file."""
        return next((b.methods[name] for b in self.bases if name in b.methods), None)


class Scan:
    """One file. `found` is in the order of its lines once `run` has returned."""

    def __init__(self, file: str, tree: ast.Module) -> None:
        self.found: list[FoundLaunch] = []
        self._file = file
        self._tree = tree
        self._classes: dict[str, _Class] = {}
        self._defined: dict[ast.ClassDef, _Class] = {}
        self._class: _Class | None = None
        self._owner = ""  # the class whose attributes `cls` and `self` mean
        self._line: int | None = None  # whose launches these are, where a method is inherited
        self._left = _MAX_STATEMENTS

    def run(self) -> list[FoundLaunch]:
        """Raises TooComplex, RecursionError."""
        changed = (each.names for each in ast.walk(self._tree) if isinstance(each, ast.Global))
        volatile = frozenset(name for names in changed for name in names)
        self._body(self._tree.body, Scope(volatile=volatile))
        self.found = sorted(dict.fromkeys(self.found), key=lambda launch: launch.line)
        return self.found

    def _body(self, body: Sequence[ast.stmt], scope: Scope) -> None:
        """A body, then the functions and classes that it defines."""
        self._block(body, scope)
        for node in _iter_definitions(body):
            if isinstance(node, _FUNCTIONS):
                self._function(node, scope.copy())
            elif node in self._defined:  # not so where its end is never reached
                self._methods(self._defined[node], scope)

    def _block(self, body: Sequence[ast.stmt], scope: Scope) -> bool:
        """Whether its end is reached."""
        return all(self._statement(node, scope) for node in body)

    def _statement(self, node: ast.stmt, scope: Scope) -> bool:
        self._left -= 1
        if self._left < 0:
            raise TooComplex(f"more than {_MAX_STATEMENTS} statements to follow")
        if isinstance(node, _TRIES):
            return self._try(node, scope)
        match node:
            case ast.If(test=test):
                self._look(test, scope)
                return self._branch([node.body, node.orelse], scope, node.lineno)
            case ast.Match(subject=subject, cases=cases):
                self._look(subject, scope)
                spoil([case.pattern for case in cases], scope, "set in a match")
                return self._branch([*(case.body for case in cases), []], scope, node.lineno)
            case ast.For() | ast.AsyncFor() | ast.While():
                self._loop(node, scope)
            case ast.With(items=items) | ast.AsyncWith(items=items):
                for item in items:
                    self._look(item.context_expr, scope)
                    if item.optional_vars is not None:
                        scope.set(item.optional_vars, Unresolved("set by `with`"))
                return self._block(node.body, scope)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                for decorator in node.decorator_list:
                    self._look(decorator, scope)
                scope.names[name] = Unresolved(f"{name} is a function")
            case ast.ClassDef():
                self._define(node, scope)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                for alias in names:
                    name = (alias.asname or alias.name).partition(".")[0]
                    scope.names[name] = Unresolved(f"{name} is imported")
            case _:
                return self._simple(node, scope)
        return True

    def _simple(self, node: ast.stmt, scope: Scope) -> bool:
        for child in ast.iter_child_nodes(node):
            self._look(child, scope)
        for each in ast.walk(node):
            if isinstance(each, ast.NamedExpr):
                scope.set(each.target, Unresolved("set inside an expression"))
            elif isinstance(each, ast.Call):
                self._called(each, scope)
        match node:
            case ast.Assign(targets=targets, value=value):
                result = evaluate(value, scope)
                for target in targets:
                    scope.set(target, result)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                scope.set(target, evaluate(value, scope))
            case ast.AugAssign():
                augment(node, scope)
            case ast.Delete(targets=targets):
                spoil(targets, scope, f"deleted at line {node.lineno}")
            case ast.Return() | ast.Raise() | ast.Break() | ast.Continue():
                return False
        return True

    def _look(self, node: ast.AST, scope: Scope) -> None:
        """Note the launches of an expression."""
        for call, inner in iter_calls(node, scope):
            line = self._line if self._line is not None else call.lineno
            launch = read_call(call, inner, self._file, line)
            if launch.model is None and self._class is not None and self._class.has_child:
                continue  # a template: its subclasses say the model, and are looked at
            self.found.append(launch)

    def _called(self, call: ast.Call, scope: Scope) -> None:
        """What a call does to lists: its own, and those it is given."""
        match call.func:
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=method):
                self._super(method, scope)
            case ast.Attribute(value=owner, attr="append" | "extend" as how) if len(call.args) == 1:
                grow(evaluate(owner, scope), how, evaluate(call.args[0], scope), call.lineno)
                return
        for node in iter_touched(call):
            name = ast.unparse(call.func)
            poison(evaluate(node, scope), f"given to {name}() at line {call.lineno}")

    def _branch(self, ways: list[list[ast.stmt]], scope: Scope, line: int) -> bool:
        """Walk each way on a copy; afterwards only what all of them agree on is known."""
        ends = []
        for way in ways:
            copied = scope.copy()
            if self._block(way, copied):
                ends.append(copied)
        if not ends:
            return False
        join(scope, ends, f"depends on a condition at line {line}")
        return True

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, scope: Scope) -> None:
        reason = f"changed in the loop at line {node.lineno}"
        if isinstance(node, ast.While):
            self._look(node.test, scope)
            rounds: Sequence[object] = ()
        else:
            self._look(node.iter, scope)
            values = evaluate(node.iter, scope)
            rounds = list(values) if isinstance(values, list | tuple) else ()
        if isinstance(node, ast.While) or not 0 < len(rounds) <= _MAX_ROUNDS:
            spoil(node.body, scope, reason)
            rounds = [Unresolved(f"set by the loop at line {node.lineno}")]
        for value in rounds:
            if not isinstance(node, ast.While):
                scope.set(node.target, value)
            self._block(node.body, scope)
        spoil(node.body, scope, reason)
        self._block(node.orelse, scope)

    def _try(self, node: ast.Try | ast.TryStar, scope: Scope) -> bool:
        before = scope.copy()
        ends = [scope.copy()] if self._block([*node.body, *node.orelse], scope) else []
        for handler in node.handlers:
            other = before.copy()
            spoil(node.body, other, f"in doubt after the exception at line {handler.lineno}")
            if handler.name:
                other.names[handler.name] = Unresolved("an exception")
            if self._block(handler.body, other):
                ends.append(other)
        if ends:
            join(scope, ends, f"depends on an exception at line {node.lineno}")
        return self._block(node.finalbody, scope) and bool(ends)

    def _function(self, node: Function, scope: Scope) -> None:
        for each in ast.walk(node.args):
            if isinstance(each, ast.arg):
                scope.names[each.arg] = Unresolved(f"{each.arg} is a parameter")
        self._body(node.body, scope)

    def _define(self, node: ast.ClassDef, scope: Scope) -> None:
        inner = replace(scope, names=dict(scope.names))
        self._block(node.body, inner)
        bases = [self._classes[n] for n in map(ast.unparse, node.bases) if n in self._classes]
        attrs: dict[str, object] = {}
        methods: dict[str, Function] = {}
        for base in reversed(bases):
            attrs |= base.attrs
            methods |= base.methods
            base.has_child = True
        attrs |= {name: inner.names[name] for name in _get_stored(node.body, inner)}
        own = {each.name: each for each in node.body if isinstance(each, _FUNCTIONS)}
        defined = _Class(node, bases, attrs, methods | own, own=set(own))
        self._classes[node.name] = self._defined[node] = defined
        scope.names[node.name] = ClassValue(attrs)

    def _methods(self, cls: _Class, scope: Scope) -> None:
        outer = self._class, self._line, self._owner
        self._class, self._owner, count = cls, cls.node.name, len(self.found)
        shared = replace(scope, attrs=cls.attrs).copy()
        rest = [name for name in cls.methods if name not in _SETUPS]
        for name in (each for each in _SETUPS if each in cls.methods):
            self._method(cls, name, shared)
        for name in rest:
            inner = shared.copy()
            for other in rest:
                if other != name:  # in which order tests run, and whether, nobody says here
                    spoil_attrs(cls.methods[other], inner, f"set in {other}()")
            self._method(cls, name, inner)
        if len(self.found) == count:
            self._fixture(cls, shared)
        self._class, self._line, self._owner = outer

    def _method(self, cls: _Class, name: str, scope: Scope) -> None:
        node = cls.methods[name]
        self._line = None if name in cls.own else cls.node.lineno
        self._enter(node, scope)

    def _enter(self, node: Function, scope: Scope) -> None:
        """Walk a method; its locals are its own, what it sets on the class stays."""
        self_names = get_self_names(node) | {self._owner}
        self._function(node, replace(scope, names=dict(scope.names), self_names=self_names))

    def _super(self, method: str, scope: Scope) -> None:
        """`super().setUpClass()`: a base's method, here and now, if this file has it."""
        base = self._class.find_inherited(method) if self._class is not None else None
        if base is not None and self._class is not None:
            outer = self._class, self._line
            self._line = self._class.node.lineno
            self._class = next(b for b in self._class.bases if method in b.methods)
            self._enter(base, scope)
            self._class, self._line = outer

    def _fixture(self, cls: _Class, scope: Scope) -> None:
        """A class that only says model and arguments: a base in another file launches it."""
        model = scope.attrs.get(MODEL_ATTRIBUTE)
        is_template = cls.has_child and not isinstance(model, str)
        if model is None or is_template or ARGS_ATTRIBUTE not in scope.attrs:
            return
        args = get_args(scope.attrs[ARGS_ATTRIBUTE])
        self.found.append(make_found(self._file, cls.node.lineno, model, args, "class"))


def _iter_definitions(body: Iterable[ast.stmt]) -> Iterable[Function | ast.ClassDef]:
    """Functions and classes of a body, those under conditions too, not those within others."""
    for node in body:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield node
        else:
            yield from _iter_definitions(
                child for child in _iter_statements(node) if isinstance(child, ast.stmt)
            )


def _iter_statements(node: ast.stmt) -> Iterable[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from child.body
        else:
            yield child


def _get_stored(body: Iterable[ast.stmt], scope: Scope) -> list[str]:
    """Names that a class body sets, itself or under a condition."""
    names: list[str] = []
    for node in body:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            names.append(node.name)
        else:
            stored = (n for n in ast.walk(node) if isinstance(n, ast.Name))
            names += [n.id for n in stored if isinstance(n.ctx, ast.Store)]
    return [name for name in dict.fromkeys(names) if name in scope.names]

"""What an expression in a test file means, as far as that file alone decides it.

Understood, and nothing else:

* constants: text, numbers, None;
* a name that is assigned once, and not below a condition: in the function that uses it, else in
  its module;
* `cls.x` and `self.x` in a method: what its class assigns once, in the body, in a set-up method,
  or earlier in this method;
* lists and tuples of these, `*items` inside them, `+`, f-strings without formats, `str(…)`;
* `try_cached_model(…)`, which is the model that it is given.

All else is `Unresolved`, with the reason: what a condition, a loop, `+=`, a base class, a call or
another file would decide. So is a list that the file may change: one that it does anything with
but read it. Nothing is imported or run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from warmup.drift.launchers import find_launcher

_SETUPS = ("setUpClass", "setup_class", "setUp", "asyncSetUp", "setup_method")
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
# Below these a statement may run or not, once or often.
_CONDITIONS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.ExceptHandler, ast.Match)
# What only reads the list right below it, or gives it another name.
_READERS: tuple[type[ast.AST], ...] = (
    *(ast.Starred, ast.BinOp, ast.FormattedValue, ast.Compare, ast.UnaryOp, ast.Expr, ast.If),
    *(ast.For, ast.comprehension, ast.Assert, ast.Assign, ast.AnnAssign),
)
_READING = {"print", "len", "str", "list", "tuple", "sorted", "join", "copy", "index", "count"}
# No launch is longer; forty names that each double the one before would be.
_MAX_LENGTH = 10_000


@dataclass(frozen=True)
class Unresolved:
    """What only running the code would tell, and why."""

    reason: str


@dataclass(frozen=True)
class Binding:
    """line, scope: where a name is bound. value: to what; or why that cannot be known."""

    line: int
    scope: ast.AST
    value: ast.expr | Unresolved


class SourceFile:
    """One parsed file: what its scopes bind, and which of its lists something may change."""

    def __init__(self, tree: ast.Module) -> None:
        self.nodes = list(ast.walk(tree))
        self._parents = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self._known: dict[ast.expr, object] = {}
        # (module, class or function, name) → all that binds the name there
        self._bound: dict[tuple[ast.AST | None, str], list[Binding]] = {}
        self._volatile: set[str] = set()  # attributes and globals that are set from elsewhere
        for node in self.nodes:
            self._bind(node)
        self._changed = self._find_changed()

    def evaluate(self, node: ast.expr) -> object:
        """Text, number, None, list or Unresolved; a tuple is a list here."""
        if node not in self._known:
            self._known[node] = Unresolved("it refers to itself")
            self._known[node] = self._evaluate(node)
        return self._known[node]

    def find_attribute(self, cls: ast.ClassDef, name: str) -> object:
        """What the body of this class itself sets; None where it does not."""
        return self._get_value(cls, name, None) if (cls, name) in self._bound else None

    def _iter_above(self, node: ast.AST) -> Iterator[ast.AST]:
        while (parent := self._parents.get(node)) is not None:
            yield parent
            node = parent

    def _get_scope(self, node: ast.AST) -> ast.AST:
        """What a node is in; a lambda or comprehension counts for what is around it."""
        return next((each for each in self._iter_above(node) if isinstance(each, _SCOPES)), node)

    def _find_own_class(self, owner: ast.expr) -> ast.ClassDef | None:
        """The class that `owner` stands for, as `cls` or `self` of one of its methods."""
        method = self._get_scope(owner)
        cls = self._parents.get(method)
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
            first = [each.arg for each in (*method.args.posonlyargs, *method.args.args)][:1]
            is_static = "staticmethod" in map(ast.unparse, method.decorator_list)
            if isinstance(cls, ast.ClassDef) and first == [_get_name(owner)] and not is_static:
                return cls
        return None

    def _bind(self, node: ast.AST) -> None:
        """Note what this node binds, and to what."""
        owner: ast.AST | None = None
        line: int = getattr(node, "lineno", 0)
        reason = f"is set at line {line}, not by an assignment alone"
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                pass
            case ast.Attribute(value=value, attr=name, ctx=ast.Store() | ast.Del()):
                owner = self._find_own_class(value)
                self._volatile |= set() if owner else {name}
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                self._volatile.update(names)
                return
            case ast.alias():
                name, reason = node.asname or node.name.partition(".")[0], "is imported"
            case ast.arg(arg=name):
                reason = "is a parameter"
            case _:  # a function, a class, what a match or an exception is called
                name = getattr(node, "name", None) or getattr(node, "rest", None) or ""
        parent = self._parents.get(node)
        if not name or (isinstance(parent, ast.AnnAssign) and parent.value is None):
            return
        bound: ast.expr | Unresolved = Unresolved(f"{name} {reason}")
        if isinstance(parent, ast.Assign | ast.AnnAssign) and parent.value is not None:
            bound = parent.value
        scope = self._get_scope(node)
        for above in self._iter_above(node):
            if above is scope:
                break
            if isinstance(above, _CONDITIONS) and isinstance(bound, ast.expr):
                bound = Unresolved(f"{name} depends on a condition at line {line}")
        self._bound.setdefault((owner or scope, name), []).append(Binding(line, scope, bound))

    def _find_changed(self) -> dict[str, int]:
        """Name → line, of all whose list something may change: whatever does more than read it.

        By the name's text alone, in whatever scope: too many, never too few.
        """
        changed: dict[str, int] = {}
        for node in self.nodes:
            if isinstance(node, ast.Name | ast.Attribute) and not self._is_read(node):
                changed.setdefault(_get_name(node), node.lineno)
        aliases = {(name, _get_name(each.value))
                   for (_, name), bindings in self._bound.items()
                   for each in bindings if isinstance(each.value, ast.expr)}  # fmt: skip
        while more := {b: changed[a] for a, b in aliases if a in changed and b not in changed}:
            changed |= more
        return changed

    def _is_read(self, node: ast.Name | ast.Attribute) -> bool:
        """Whether no list can be changed by what is done with this name here."""
        parent = self._parents[node]
        if isinstance(parent, ast.keyword):
            parent = self._parents[parent]
        match parent:
            case ast.Call(func=func):
                return func is node or _get_name(func) in _READING or bool(find_launcher(parent))
            case ast.Attribute(attr=attr):
                return attr in _READING
            case ast.Subscript(ctx=context):
                return isinstance(context, ast.Load)
            case ast.AugAssign():
                return False
        return isinstance(node.ctx, ast.Store) or isinstance(parent, _READERS)

    def _evaluate(self, node: ast.expr) -> object:
        match node:
            case ast.Constant(value=str() | int() | float() | None as value):
                return value
            case ast.Name(id=name):
                return self._get_value(self._find_owner(node), name, node)
            case ast.Attribute(value=ast.Name(id=owner) as owned, attr=attr):
                cls = self._find_own_class(owned)
                return self._get_value(cls, attr if cls else f"{owner}.{attr}", node)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return _join(map(self._get_items, items), [])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                first = self.evaluate(left)
                return _join([first, self.evaluate(right)], [] if isinstance(first, list) else "")
            case ast.JoinedStr(values=parts):
                return _join(map(self.evaluate, parts), "")
            case (
                ast.FormattedValue(value=inner, conversion=-1, format_spec=None)
                | ast.Call(func=ast.Name(id="str"), args=[inner], keywords=[])
            ):
                text = self.evaluate(inner)
                return str(text) if isinstance(text, int | float) else text
            case ast.Call(func=ast.Name(id="try_cached_model"), args=[model], keywords=[]):
                return self.evaluate(model)
            case ast.IfExp(test=test):
                return Unresolved(f"depends on a condition: {_shorten(test)}")
        kind = "a call" if isinstance(node, ast.Call) else "not a constant"
        return Unresolved(f"{kind}: {_shorten(node)}")

    def _get_items(self, item: ast.expr) -> object:
        """What one item of a display adds to it: a list, or Unresolved."""
        if isinstance(item, ast.Starred):
            return self.evaluate(item.value)
        value = self.evaluate(item)
        return value if isinstance(value, Unresolved) else [value]

    def _find_owner(self, node: ast.Name) -> ast.AST | None:
        """The scope that binds a name which is used here, as Python looks it up."""
        first = self._get_scope(node)
        scopes = (each for each in self._iter_above(first) if not isinstance(each, ast.ClassDef))
        return next((s for s in (first, *scopes) if (s, node.id) in self._bound), None)

    def _get_value(self, owner: ast.AST | None, name: str, user: ast.expr | None) -> object:
        """What a name of this scope or class means where `user` uses it."""
        bindings = self._bound.get((owner, name), [])
        if not bindings:
            return Unresolved(f"{name} is not set in this file")
        if len(bindings) > 1 or name in self._volatile:
            return Unresolved(f"{name} is assigned more than once")
        (only,) = bindings
        here = self._get_scope(user) if user else owner
        if isinstance(only.value, Unresolved):
            return only.value
        where = getattr(only.scope, "name", "")
        if only.scope not in (owner, here) and where not in _SETUPS:
            return Unresolved(f"{name} is set in {where}()")
        if user and only.scope is here and only.line > user.lineno:
            return Unresolved(f"{name} is set only at line {only.line}")
        value = self.evaluate(only.value)
        if isinstance(value, list) and name in self._changed:
            return Unresolved(f"{name} may be changed at line {self._changed[name]}")
        return value


def _get_name(node: object) -> str:
    """A name, or the last part of a dotted one; "" for anything else."""
    name: str = getattr(node, "id", getattr(node, "attr", ""))
    return name


def _join(parts: Iterable[Any], total: Any) -> object:
    """These texts or lists one after the other; total: "" or []."""
    for part in parts:
        if isinstance(part, Unresolved):
            return part
        if type(part) is not type(total):
            return Unresolved(f"{type(total).__name__} + {type(part).__name__}")
        total += part
        if len(total) > _MAX_LENGTH:
            return Unresolved("longer than any launch")
    return total


def _shorten(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 80 else f"{text[:79]}…"

"""How big the house is, beside the aims: lines, files, what `run` reaches, functions cut too small.

    python -m benchmarks.house [FOLDER]

Counted from the syntax trees, lazy imports included and those under `if TYPE_CHECKING` left out.
Through a face, a module that imports a name to hand it on, only that name is followed. Modules
that are found by a computed name (families, engines, by name) are not seen.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from benchmarks.table import print_table

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


class Module:
    """One file. name: dotted, as it is imported."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.text = path.read_text(encoding="utf-8")
        self.num_lines = len(self.text.splitlines())
        self.tree = ast.parse(self.text)

    @cached_property
    def imports(self) -> list[tuple[str, str, str]]:
        """(module, name in it or "", what it is called here), type checkers' own left out."""
        return self._list_imports(_walk(self.tree))

    @cached_property
    def handed(self) -> list[tuple[str, str, str]]:
        """What others can import from here; a lazy face names it for type checkers alone."""
        is_lazy = "__getattr__ = load_lazily" in self.text
        return self._list_imports(ast.walk(self.tree)) if is_lazy else self.imports

    def _list_imports(self, nodes: Iterable[ast.AST]) -> list[tuple[str, str, str]]:
        found = []
        for node in nodes:
            if isinstance(node, ast.Import):
                found += [(each.name, "", each.asname or each.name) for each in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [(each.name, each.asname or each.name) for each in node.names]
                found += [(node.module, name, called) for name, called in names]
        return found

    @property
    def functions(self) -> list[str]:
        return [each.name for each in ast.walk(self.tree) if isinstance(each, _FUNCTION)]

    @property
    def classes(self) -> list[str]:
        return [each.name for each in ast.walk(self.tree) if isinstance(each, ast.ClassDef)]

    def count_private_used_once(self) -> int:
        """Private functions and methods that this file names once besides their definition."""
        used: Counter[str] = Counter()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name):
                used[node.id] += 1
            elif isinstance(node, ast.Attribute):
                used[node.attr] += 1
        private = {name for name in self.functions if name[0] == "_" and name[:2] != "__"}
        return sum(used[name] == 1 for name in private)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _walk(child)


def read_tree(package: Path) -> dict[str, Module]:
    """Every file of the package that is not empty, by its dotted name."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        if path.read_text(encoding="utf-8").strip():
            parts = path.relative_to(package.parent).with_suffix("").parts
            modules[".".join(parts)] = Module(path, ".".join(parts))
    return modules


def find_closure(modules: dict[str, Module], start: str) -> set[str]:
    """Names of the modules that `start` reaches, itself included."""
    entered: set[str] = set()  # all of whose imports are followed
    seen: set[str] = set()  # faces that only handed a name on, as well

    def enter(name: str) -> None:
        if name in modules and name not in entered:
            entered.add(name)
            seen.add(name)
            for module, imported, _ in modules[name].imports:
                follow(module, imported)

    def follow(module: str, imported: str) -> None:
        if f"{module}.{imported}" in modules:
            enter(f"{module}.{imported}")
            return
        if module not in modules:
            return
        handed = [(m, n) for m, n, called in modules[module].handed if called == imported]
        if handed and handed[0][0].partition(".")[0] == module.partition(".")[0]:
            seen.add(module)
            follow(*handed[0])
        else:
            enter(module)

    enter(start)
    return seen


def measure(package: Path) -> list[tuple[str, str, str]]:
    """(what, today, aim) of the package in this folder."""
    modules = read_tree(package)
    closure = find_closure(modules, f"{package.name}.commands.run")
    functions = [name for module in modules.values() for name in module.functions]
    once = sum(module.count_private_used_once() for module in modules.values())
    classes = Counter(name for module in modules.values() for name in module.classes)
    by_size = sorted(modules.values(), key=lambda module: -module.num_lines)
    long = [module.path.name for module in by_size if module.num_lines > 300]
    twice = sorted(name for name, count in classes.items() if count > 1)
    reached = sum(modules[name].num_lines for name in closure)
    return [
        ("lines", str(sum(module.num_lines for module in by_size)), "≤ 26000"),
        ("files", str(len(modules)), "≤ 210"),
        ("files that `run` reaches", f"{len(closure)} ({reached} lines)", "≤ 65"),
        ("files over 300 lines", ", ".join(long) or "none", "cli.py"),
        ("functions", str(len(functions)), ""),
        ("private ones used once", f"{100 * once / max(len(functions), 1):.1f} %", "≤ 18 %"),
        ("class names used twice", ", ".join(twice) or "none", "none"),
        *(
            (f"largest file {place}", f"{module.path.relative_to(package)} {module.num_lines}", "")
            for place, module in enumerate(by_size[:5], start=1)
        ),
    ]


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "warmup"
    print_table(["what", "today", "aim"], measure(folder))

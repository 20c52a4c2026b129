"""What drift resolves is what Python does, whatever a test file does with its lists."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmup.drift.resolve import SourceFile
from warmup.drift.scan import _scan

NAMES = st.sampled_from(["a", "b", "self.c", "self.d", "E"])
ITEMS = st.sampled_from(["'--x'", "'--y'", "3", "f'--z={1}'", "*a", "*self.c", "*E"])
LISTS = st.lists(ITEMS, max_size=3).map(lambda items: f"[{', '.join(items)}]")
VALUES = st.one_of(
    LISTS, NAMES, st.tuples(NAMES, LISTS).map(" + ".join), LISTS.map("list({})".format)
)
PLAIN = st.one_of(
    st.tuples(NAMES, VALUES).map(" = ".join),
    st.tuples(NAMES, LISTS).map(" += ".join),
    NAMES.map("{}.append('--late')".format),
    NAMES.map("{}[:] = ['--all']".format),
    NAMES.map("change({})".format),
    NAMES.map("keep = [{0}, {0}][0]".format),
    NAMES.map("keep.append('--kept'); {}".format),
    NAMES.map("print({})".format),
)
STEPS = st.one_of(
    PLAIN,
    PLAIN,
    PLAIN.map("if flag: {}".format),
    NAMES.map("for each in ({},): each.append('--loop')".format),
    NAMES.map("launch('m', 'u', other_args={})".format),
)
BODIES = st.lists(STEPS, min_size=1, max_size=6)
FILE = """
E = ['--module']
class Test(Base):
    c = ['--class']
    def setUp(self):
{set_up}
    def test(self):
{test}
        launch('m', 'u', other_args={last})
    def test_other(self):
{other}
"""


def indent(body: list[str]) -> str:
    return "\n".join(f"        {line}" for line in body)


def run(source: str, flag: bool) -> dict[int, list[tuple[str, ...]]]:
    """Line → the arguments of each launch there, as Python runs the methods in order."""
    launched: dict[int, list[tuple[str, ...]]] = {}

    def launch(line: int, args: Any) -> None:
        launched.setdefault(line, []).append(tuple(map(str, args)))

    scope: dict[str, Any] = {"flag": flag, "Base": object, "launch": launch, "keep": []}
    scope |= {"change": lambda each: each.append("--changed"), "print": lambda each: None}
    lines = source.splitlines()
    for index, line in enumerate(lines):
        lines[index] = line.replace("launch('m', 'u', other_args=", f"launch({index + 1}, ")
    exec(compile("\n".join(lines), "test.py", "exec"), scope)
    for method in ("setUp", "test_other", "test"):
        case = scope["Test"]()
        for name in dict.fromkeys(("setUp", method)):
            try:
                getattr(case, name)()
            except (AttributeError, TypeError, UnboundLocalError, NameError):
                break
    return launched


def check(test: list[str], last: str, set_up: list[str], other: list[str]) -> list[tuple[str, ...]]:
    """The arguments of the launches that were resolved; each must be what Python does."""
    texts = {"set_up": indent(set_up), "test": indent(test), "other": indent(other)}
    source = FILE.format(**texts, last=last)
    tree = ast.parse(source.replace("launch(", "popen_launch_server("))
    resolved = {
        each.line: each.args
        for each in _scan("test.py", SourceFile(tree))
        if isinstance(each.args, tuple)
    }
    for launched in [run(source, flag) for flag in (True, False)] if resolved else ():
        for line, args in resolved.items():
            assert {args} >= {*launched.get(line, [])}, source
    return list(resolved.values())


@settings(max_examples=150, deadline=None)
@given(test=BODIES, last=NAMES, set_up=BODIES, other=BODIES)
def test_what_is_resolved_is_what_python_does(
    test: list[str], last: str, set_up: list[str], other: list[str]
) -> None:
    check(test, last, set_up, other)


def test_the_test_sees_a_list_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SourceFile, "_find_changed", lambda self: {})
    with pytest.raises(AssertionError):
        check(["a = ['--x']", "b = a", "b.append('--late')"], "a", ["pass"], ["pass"])


def test_what_is_read_alone_is_resolved() -> None:
    assert check(["a = ['--x', *self.c]", "print(a)"], "a", ["pass"], ["pass"]) == [
        ("--x", "--class")
    ]

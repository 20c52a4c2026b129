from __future__ import annotations

from pathlib import Path

import pytest

from tests.drift.helpers import find_args, scan
from warmup.drift.resolve import Unresolved

GROWN = """
    args = ["--a"]
    same = args
    same += ["--b"]
"""


@pytest.mark.parametrize(
    ("body", "args"),
    [
        ("args = ['--a']\ncopy = list(args)\ncopy.append('--b')", ("--a",)),
        ("args = ['--a', try_cached_model('org/m')]", ("--a", "org/m")),
        ("args: list[str] = ['--a', 3, 0.5]", ("--a", "3", "0.5")),
        ("n = 4\nargs = ['--tp', str(n), f'--x={n}-{\"y\"}']", ("--tp", "4", "--x=4-y")),
        ("args = ('--a',) + ('--b',)", ("--a", "--b")),
        ("base = ['--a']\nargs = [*base, '--b'] + ['--c']", ("--a", "--b", "--c")),
        ("args = ['--a']\nif flag:\n    print(args)", ("--a",)),
        ("args = ['--a']\ntry:\n    x = 1\nexcept OSError:\n    raise", ("--a",)),
        ("args = None", ()),
        ("name = 'x'\nuse(name)\nargs = [name]", ("x",)),
        ("args = ['--a']\ndef inner():\n    args = ['--b']", ("--a",)),
    ],
)
def test_what_is_understood(tmp_path: Path, body: str, args: tuple[str, ...]) -> None:
    assert find_args(tmp_path, body) == args


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("args = ['--a'] if flag else []", "depends on a condition: flag"),
        ("args = ['--a']\nif flag:\n    args = ['--b']", "args is assigned more than once"),
        ("args = ['--a']\nargs += ['--b']", "args is assigned more than once"),
        ("args, other = ['--a'], []", "args is set at line 3, not by an assignment alone"),
        ("args = ['--a']\nargs.append('--b')", "args may be changed at line 4"),
        (GROWN, "args may be changed at line"),
        ("args = ['--a']\nalias = args\nif flag:\n    alias.append('--b')", "args may be changed"),
        ("args = ['--a']\nfor each in (args, []):\n    each.append('--b')", "args may be changed"),
        ("args = ['--a']\nif flag:\n    del args[0]", "args may be changed at line 5"),
        ("args = ['--a']\nargs[0] = '--b'", "args may be changed at line 4"),
        ("args = ['--a']\nadd_flags(args)", "args may be changed at line 4"),
        ("args = ['--a']\nreturn args", "args may be changed at line 4"),
        ("for args in (['--a'], ['--b']):\n    pass", "args is set at line 3, not by an"),
        ("with f() as args:\n    pass", "args is set at line 3, not by an assignment"),
        ("match flag:\n    case [*args]:\n        pass", "args is set at line 4, not by an"),
        ("(args := f())", "args is set at line 3, not by an assignment"),
        ("args = get_args()", "a call: get_args()"),
        ("args = list(['--a'])", "a call: list(['--a'])"),
        ("args = ['--a', os.environ['X']]", "not a constant: os.environ['X']"),
        ("args = [f'{3:>4}']", "not a constant: {3:>4}"),
        ("args = ['--a' * 3]", "not a constant: '--a' * 3"),
        ("args = [*names]", "names is a parameter"),
        ("args = IMPORTED", "IMPORTED is imported"),
        ("import args", "args is imported"),
        ("args = NOWHERE", "NOWHERE is not set in this file"),
        ("args = CHANGED", "CHANGED is assigned more than once"),
        ("args = args + ['--a']", "args is set only at line 3|it refers to itself"),
        ("args = [True]", "an argument is a bool"),
        ("args = '--a'", "arguments are a str, not a list"),
    ],
)
def test_what_is_left_open_is_said_and_not_guessed(tmp_path: Path, body: str, reason: str) -> None:
    head = """
        from elsewhere import IMPORTED
        CHANGED = []
        def change():
            global CHANGED
            CHANGED = ["--x"]
    """
    found = find_args(tmp_path, body, "" if "line" in reason else head)
    assert isinstance(found, str)
    assert any(each in found for each in reason.split("|")), found


@pytest.mark.parametrize(
    "step", ["args{n} + args{n}", "[*args{n}, *args{n}]", "f'{{args{n}}}{{args{n}}}'"]
)
def test_names_that_double_each_other_end_soon(tmp_path: Path, step: str) -> None:
    steps = [f"args{n + 1} = {step.format(n=n)}" for n in range(60)]
    first = "args0 = 'x'" if step.startswith("f") else "args0 = ['x']"
    found = find_args(tmp_path, "\n".join([first, *steps, "args = [args60]"]))
    assert found in ("longer than any launch", "an argument is a list")


def test_what_another_file_says_is_open(tmp_path: Path) -> None:
    source = """
        from common import *
        from common import MODEL as NAME, Base
        class TestOwn(Base):
            model = NAME
            other_args = ["--b"]
        class TestStar(Base):
            model = "org/m"
            def test_it(self):
                popen_launch_server(OTHER, URL)
                popen_launch_server(self.model, URL, other_args=self.other_args)
    """
    assert [launch.unresolved for launch in scan(tmp_path, source)] == [
        "model: NAME is imported",
        "model: OTHER is not set in this file",
        "other_args is not set in this file",
    ]


def test_what_a_base_class_of_the_same_file_launches_is_open(tmp_path: Path) -> None:
    found = scan(
        tmp_path,
        """
        MODEL = "org/first"
        class Base:
            model = None
            extra = []
            @classmethod
            def setUpClass(cls):
                args = ["--a", *cls.extra]
                cls.process = popen_launch_server(cls.model, URL, other_args=args)
        class TestOwn(Base):
            model = MODEL
            extra = ["--b"]
        class TestSetUp(Base):
            @classmethod
            def setUpClass(cls):
                cls.model = "org/second"
                super().setUpClass()
        class TestBare(TestSetUp):
            pass
        """,
    )
    reason = "launched by a class that is not followed: "
    assert [(launch.model, launch.unresolved) for launch in found] == [
        (None, "model: it is None"),
        ("org/first", f"{reason}Base"),
        ("org/second", f"{reason}Base"),
        (None, f"{reason}TestSetUp"),
    ]


def test_what_a_method_may_set_for_another_is_open(tmp_path: Path) -> None:
    found = scan(
        tmp_path,
        """
        class TestIt:
            def setUp(self):
                self.sure = ["--a"]
            def test_one(self):
                self.late = ["--b"]
                self.twice = ["--c"]
            def test_two(self):
                popen_launch_server("org/m", URL, other_args=self.sure)
                popen_launch_server("org/m", URL, other_args=self.late)
                popen_launch_server("org/m", URL, other_args=self.twice)
                popen_launch_server("org/m", URL, other_args=self.here)
                self.twice = self.here = ["--d"]
                popen_launch_server("org/m", URL, other_args=self.here)
        """,
    )
    assert [launch.args for launch in found] == [
        ("--a",),
        Unresolved("late is set in test_one()"),
        Unresolved("twice is assigned more than once"),
        Unresolved("here is set only at line 13"),
        ("--d",),
    ]


def test_what_a_condition_sets_on_a_class_is_open(tmp_path: Path) -> None:
    found = scan(
        tmp_path,
        """
        class TestIt:
            def setUp(self):
                if FAST:
                    self.other_args = ["--fast"]
                popen_launch_server("org/m", URL, other_args=self.other_args)
            def test_it(self):
                def inner(self):
                    popen_launch_server("org/n", URL, other_args=self.other_args)
        TestIt.model = "org/late"
        """,
    )
    assert [launch.unresolved for launch in found] == [
        "other_args depends on a condition at line 5",
        "self.other_args is not set in this file",
    ]

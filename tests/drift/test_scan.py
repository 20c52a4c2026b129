from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from warmup.drift.args import Drift, FoundLaunches, compare, find_launches
from warmup.drift.calls import FoundLaunch
from warmup.drift.values import Unresolved
from warmup.launch.launch import Launch
from warmup.words.errors import UsageError

# Kept as text: neither pytest nor a type checker is to take them for this project's code.
LAUNCHES = Path(__file__).parent / "launches"


def scan(tmp_path: Path, source: str) -> list[FoundLaunch]:
    file = tmp_path / "test_it.py"
    file.write_text(textwrap.dedent(source), encoding="utf-8")
    found = find_launches([file])
    assert found.problems == ()
    return list(found.launches)


def scan_fixture(name: str) -> list[tuple[str | None, tuple[str, ...] | Unresolved, str]]:
    found = find_launches([LAUNCHES / f"{name}.py.txt"])
    assert found.problems == ()
    return [(launch.model, launch.args, launch.kind) for launch in found.launches]


def find_args(tmp_path: Path, body: str, head: str = "") -> tuple[str, ...] | str:
    """The arguments of the one launch in a function with this body, or why they are unknown."""
    source = textwrap.dedent(head) + "\ndef test_it(flag, names):\n"
    source += textwrap.indent(textwrap.dedent(body), "    ")
    source += "\n    popen_launch_server('m', 'u', other_args=args)\n"
    (launch,) = scan(tmp_path, source)
    return launch.args.reason if isinstance(launch.args, Unresolved) else launch.args


def test_servers_launched_in_set_up() -> None:
    assert scan_fixture("setup_class") == [
        (
            "org/wide",
            (
                *("--trust-remote-code", "--tp", "8", "--dp", "8", "--enable-dp-attention"),
                *("--mem-fraction-static", "0.8"),
            ),
            "call",
        ),
        ("org/wide", ("--trust-remote-code", "--tp", "8", "--nccl-port", "29500"), "call"),
        ("org/bare", (), "call"),
    ]


def test_settings_of_launches() -> None:
    base = ("--trust-remote-code", "--loader", '{"threads": 64}')
    found = scan_fixture("settings")
    assert found[:3] == [
        ("org/settings", (*base, "--tp-size", "8"), "settings"),
        ("org/settings", (*base, "--tp=8", "--dp=8", "--speculative-algorithm=EAGLE"), "settings"),
        ("org/small", (), "settings"),
    ]
    assert [model for model, _, _ in found[3:]] == [None]


def test_classes_that_a_fixture_elsewhere_launches() -> None:
    omni = ("--tp", "8", "--dp", "2", "--enable-multi-layer-eagle")
    assert scan_fixture("class_attributes") == [
        ("org/flash", ("--tp", "4", "--attention-backend", "fa3"), "class"),
        ("org/omni", omni, "class"),
        ("org/omni", (*omni, "--fast"), "class"),
    ]


def test_templates_are_launched_by_their_subclasses() -> None:
    assert scan_fixture("templates") == [
        ("org/one", ("--trust-remote-code", "--tp", "2"), "call"),
        ("org/two", ("--trust-remote-code", "--tp", "4"), "call"),
    ]


@pytest.mark.parametrize(
    ("body", "args"),
    [
        ("args = ['--a']\nargs.append('--b')\nargs.extend(['--c'])", ("--a", "--b", "--c")),
        ("args = ['--a']\nsame = args\nsame += ['--b']", ("--a", "--b")),
        ("args = ['--a']\ncopy = args.copy()\ncopy.append('--b')", ("--a",)),
        ("args = ['--a']\ncopy = list(args)\ncopy.append('--b')", ("--a",)),
        ("args: list[str] = ['--a', 3, 0.5]", ("--a", "3", "0.5")),
        ("args = '--a 1'.split()", ("--a", "1")),
        ("n = 4\nargs = ['--tp', str(n), f'--x={n}-{\"y\"}']", ("--tp", "4", "--x=4-y")),
        ("args = ('--a',) + ('--b',)", ("--a", "--b")),
        ("args, other = ['--a'], ['--b']", ("--a",)),
        ("args = ['--a']\nif flag:\n    print(args)", ("--a",)),
        (
            "args = ['--a']\nif flag:\n    args += ['--b']\nelse:\n    args += ['--b']",
            ("--a", "--b"),
        ),
        ("args = ['--a']\nif flag:\n    args = None\n    raise ValueError", ("--a",)),
        ("args = []\nfor x in ('--a', '--b'):\n    args = [*args, x]\n    pass", None),
        ("args = None", ()),
        ("args = ['--a']\ntry:\n    x = 1\nexcept OSError:\n    raise", ("--a",)),
        ("import args", None),
    ],
)
def test_what_a_function_decides(tmp_path: Path, body: str, args: tuple[str, ...] | None) -> None:
    found = find_args(tmp_path, body)
    assert isinstance(found, str) if args is None else found == args


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("args = ['--a'] if flag else []", "depends on a condition: flag"),
        ("args = ['--a']\nif flag:\n    args.append('--b')", "depends on a condition at line"),
        (
            "args = ['--a']\nalias = args\nif flag:\n    alias.append('--b')",
            "depends on a condition",
        ),
        ("args = ['--a']\nif flag:\n    del args[0]", "depends on a condition at line"),
        ("args = ['--a']\nfor n in names:\n    args.append(n)", "changed in the loop at line"),
        ("args = ['--a']\nwhile flag:\n    args += ['--b']", "changed in the loop at line"),
        ("args = ['--a']\nmatch flag:\n    case 1:\n        args = []", "depends on a condition"),
        ("args = ['--a']\ntry:\n    args = f()\nexcept OSError:\n    pass", "depends on an exc"),
        ("args = ['--a']\nargs[0] = '--b'", "one item set at line"),
        ("args = ['--a']\nargs.remove('--a')", "given to args.remove() at line"),
        ("args = ['--a']\nadd_flags(args)", "given to add_flags() at line"),
        ("args = get_args()", "a call: get_args()"),
        ("args = ['--a', os.environ['X']]", "not a constant: os.environ['X']"),
        ("args = [f'{3:>4}']", "formatted: 3"),
        ("args = ['--a' * 3]", "not a constant: '--a' * 3"),
        ("args = [*names]", "names is a parameter"),
        ("args = IMPORTED", "IMPORTED is imported"),
        ("args = NOWHERE", "NOWHERE is not set in this file"),
        ("args = CHANGED", "CHANGED is changed through `global`"),
        ("args = [True]", "an argument is a bool"),
        ("args = '--a'", "arguments are a str, not a list"),
        ("args = ['--a']\n(args := f())", "set inside an expression"),
        ("args = ['--a']\nwith f() as args:\n    pass", "set by `with`"),
        ("args = ['x']\n" + "args = args + args\n" * 40, "longer than any launch"),
        ("args = 'x'\n" + "args = f'{args}{args}'\n" * 40, "longer than any launch"),
    ],
)
def test_what_a_function_leaves_open_is_said_and_not_guessed(
    tmp_path: Path, body: str, reason: str
) -> None:
    head = """
        from elsewhere import IMPORTED
        CHANGED = []
        def change():
            global CHANGED
            CHANGED = ["--x"]
    """
    found = find_args(tmp_path, body, head)
    assert isinstance(found, str)
    assert reason in found


def test_loops_over_constants_are_walked(tmp_path: Path) -> None:
    found = scan(
        tmp_path,
        """
        MODELS = ["org/a", "org/b"]
        def test_all():
            for model, size in zip(MODELS, [1, 2]):
                popen_launch_server(model, URL, other_args=["--zip"])
            for model in MODELS:
                popen_launch_server(model, URL, other_args=["--one", model])
        """,
    )
    assert [launch.model for launch in found] == [None, "org/a", "org/b"]
    assert found[0].unresolved == "model: set by the loop at line 4"
    assert found[2].args == ("--one", "org/b")


def test_what_changes_in_a_loop_or_before_an_exception_is_open_there(tmp_path: Path) -> None:
    found = scan(
        tmp_path,
        """
        def test_loop(names):
            args = ["--a"]
            for name in names:
                popen_launch_server("org/m", URL, other_args=args)
                args.append(name)
        def test_exception():
            args = ["--a"]
            try:
                args.append("--b")
                popen_launch_server("org/m", URL, other_args=args)
            except OSError:
                popen_launch_server("org/n", URL, other_args=args)
        """,
    )
    assert [launch.args for launch in found] == [
        Unresolved("changed in the loop at line 4"),
        ("--a", "--b"),
        Unresolved("in doubt after the exception at line 12"),
    ]


def test_what_another_test_of_the_class_sets_is_open(tmp_path: Path) -> None:
    found = scan(
        tmp_path,
        """
        class TestIt:
            other_args = ["--a"]
            def test_one(self):
                self.other_args = ["--b"]
                popen_launch_server("org/m", URL, other_args=self.other_args)
            def test_two(self):
                popen_launch_server("org/m", URL, other_args=self.other_args)
        """,
    )
    assert found[0].args == ("--b",)
    assert found[1].args == Unresolved("set in test_one()")


def test_arguments_passed_through_are_open(tmp_path: Path) -> None:
    found = scan(
        tmp_path,
        """
        popen_launch_server("org/m", URL, **kwargs)
        popen_launch_server(*everything)
        lib.popen_launch_pd_server(model="org/m", base_url=URL, other_args=["--x"])
        launch = lambda model: popen_launch_server(model, URL)
        """,
    )
    assert [launch.unresolved for launch in found] == [
        "passed through **kwargs",
        "model: passed through *args",
        None,
        "model: a lambda's parameter",
    ]


def test_helpers_that_launch_what_they_are_given_are_open(tmp_path: Path) -> None:
    source = """
        def launch(model, args):
            return popen_launch_server(model, URL, other_args=args)
        class Box:
            model = "org/m"
            @staticmethod
            def launch(cls):
                return popen_launch_server(cls.model, URL)
    """
    found = scan(tmp_path, source)
    assert [launch.unresolved for launch in found] == [
        "model: model is a parameter",
        "model: cls.model is not set in this file",
    ]


def test_files_that_are_no_python_are_reported(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def broken(:\n")
    (tmp_path / "binary.py").write_bytes(b"\x00\x01\xff" * 50)
    (tmp_path / "latin.py").write_bytes(b"x = '\xe9'\n")
    (tmp_path / "deep.py").write_text("x = " + "-" * 100_000 + "1\n")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.py").symlink_to(tmp_path / "self.py")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "fifo.py")
    (tmp_path / "good.py").write_text("popen_launch_server('org/m', URL)\n")
    (tmp_path / "notes.txt").write_text("no python\n")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "bad.py").write_text("(")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)

    found = find_launches([tmp_path])

    assert [launch.model for launch in found.launches] == ["org/m"]
    reasons = {Path(problem.file).name: problem.reason for problem in found.problems}
    bad_files = {"broken.py", "binary.py", "latin.py", "deep.py", "gone.py", "self.py", "fifo.py"}
    assert reasons.keys() == bad_files | {"loop", "up"}
    assert reasons["broken.py"].startswith("not Python: ")
    assert reasons["up"] == "a symlink loop"
    assert reasons["fifo.py"] == "not a file"
    assert reasons["self.py"] == reasons["loop"] == os.strerror(40)


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text("popen_launch_server('org/m', URL)\n")
    assert len(find_launches([file, tmp_path, file]).launches) == 1


def test_a_path_that_does_not_exist_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        find_launches([tmp_path / "gone"])


def test_invalid_escapes_in_tests_are_no_warning_of_ours(tmp_path: Path) -> None:
    assert scan(tmp_path, 'x = "\\d"\n') == []


def make_launch(model: str = "org/m", tp: int = 8, *args: str, trust: bool = False) -> Launch:
    return Launch(
        model=model,
        tp=tp,
        engine="sglang",
        python="python",
        fallback_args=args,
        trust_remote_code=trust,
    )


def make_found(*args: str, model: str | None = "org/m") -> FoundLaunch:
    return FoundLaunch("t.py", 3, model, args, "call", "" if model else "model: it is None")


@pytest.mark.parametrize(
    ("tests", "workflow"),
    [
        (("--tp", "8", "--dp", "8"), ("--dp", "8")),
        (("--tp=8", "--dp=8"), ("--dp-size", "8")),
        (("--tensor-parallel-size", "8", "--a", "--b", "1"), ("--b", "1", "--a")),
        (("--tp", "8", "--host", "0.0.0.0", "--port", "1", "--model-path", "x"), ()),
        (("--tp", "4", "--tp-size=8"), ()),
        (("--tp", "8", "--bias", "-1.5"), ("--bias=-1.5",)),
    ],
)
def test_no_drift(tests: tuple[str, ...], workflow: tuple[str, ...]) -> None:
    assert compare([make_found(*tests)], [make_launch("org/m", 8, *workflow)]) == []


def test_drift_both_ways() -> None:
    found = make_found("--tp", "8", "--dp", "2", "--attention-backend", "fa3", "--fast")
    launch = make_launch("org/m", 8, "--dp", "8", "--enable-dp-attention")
    assert compare([found], [launch]) == [
        Drift(
            model="org/m",
            tp=8,
            file="t.py",
            line=3,
            missing_in_workflow=("--dp-size 2", "--attention-backend fa3", "--fast"),
            missing_in_tests=("--dp-size 8", "--enable-dp-attention"),
        )
    ]


def test_trust_is_the_workflows_own_key() -> None:
    found = make_found("--tp", "8", "--trust-remote-code")
    assert compare([found], [make_launch(trust=True)]) == []


def test_another_size_is_drift() -> None:
    (drift,) = compare([make_found("--tp", "4")], [make_launch(tp=8)])
    assert drift.missing_in_workflow == ("--tp-size 4",)
    assert drift.missing_in_tests == ("--tp-size 8",)
    (drift,) = compare([make_found()], [make_launch(tp=8)])
    assert (drift.tp, drift.missing_in_workflow) == (1, ("--tp-size 1",))


def test_the_nearest_launch_of_a_model_counts() -> None:
    launches = [make_launch("org/m", 4), make_launch("org/m", 8, "--dp", "8", "--a", "--b")]
    assert compare([make_found("--tp", "4")], launches) == []
    (drift,) = compare([make_found("--tp", "8")], launches)
    assert drift.missing_in_tests == ("--dp-size 8", "--a", "--b")


def test_a_local_model_is_found_by_what_the_workflow_calls_it() -> None:
    launch = Launch(model="/models/m", label="./m", tp=1, engine="sglang", python="python")
    assert compare([make_found("--x", model="./m")], [launch])[0].missing_in_workflow == ("--x",)


def test_only_what_the_workflow_lists_is_compared_and_the_unknown_is_reported() -> None:
    found = [
        make_found("--x", model="org/other"),
        make_found("--x", model=None),
        FoundLaunch("t.py", 9, "org/m", Unresolved("a call: f()"), "call"),
    ]
    drifts = compare(found, [make_launch()])
    assert [(drift.model, drift.line, drift.unresolved) for drift in drifts] == [
        (None, 3, "model: it is None"),
        ("org/m", 9, "a call: f()"),
    ]


def test_an_empty_folder_has_no_launches(tmp_path: Path) -> None:
    assert find_launches([tmp_path]) == FoundLaunches((), ())

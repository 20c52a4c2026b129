from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.drift.helpers import scan
from warmup.drift.resolve import Unresolved
from warmup.drift.scan import FoundLaunches, find_launches
from warmup.words.errors import UsageError

# Kept as text: neither pytest nor a type checker is to take them for this project's code.
LAUNCHES = Path(__file__).parent / "launches"


def scan_fixture(name: str) -> list[tuple[str | None, tuple[str, ...] | str]]:
    """Each launch's model and arguments, or why they are not known."""
    found = find_launches([LAUNCHES / f"{name}.py.txt"])
    assert found.problems == ()
    return [
        (each.model, each.args.reason if isinstance(each.args, Unresolved) else each.args)
        for each in found.launches
    ]


def test_servers_launched_in_set_up() -> None:
    assert scan_fixture("setup_class") == [
        (
            "org/wide",
            (
                *("--trust-remote-code", "--tp", "8", "--dp", "8", "--enable-dp-attention"),
                *("--mem-fraction-static", "0.8"),
            ),
        ),
        ("org/wide", ("--trust-remote-code", "--tp", "8", "--nccl-port", "29500")),
        ("org/bare", ()),
        ("org/grown", "grown_args is assigned more than once"),
    ]


def test_settings_of_launches_add_what_their_class_adds() -> None:
    base = ("--trust-remote-code", "--loader", '{"threads": 64}')
    added = ("--enable-multimodal", "--trust-remote-code", "--tp")
    found = scan_fixture("settings")
    assert found[:3] == [
        ("org/settings", (*added, "8", *base)),
        (
            "org/settings",
            (*added, "8", *base, "--tp=8", "--dp=8", "--speculative-algorithm=EAGLE"),
        ),
        ("org/small", (*added, "1")),
    ]
    assert [model for model, _ in found[3:]] == [None]


def test_classes_that_a_fixture_elsewhere_launches() -> None:
    omni = ("--tp", "8", "--dp", "2", "--enable-multi-layer-eagle")
    assert scan_fixture("class_attributes") == [
        ("org/flash", ("--tp", "4", "--attention-backend", "fa3")),
        ("org/omni", omni),
        (None, "launched by a class that is not followed: TestOmni"),
        ("org/own", "launched by a class that is not followed: OwnBase"),
    ]


def test_vision_tests_are_launched_by_their_mixins() -> None:
    added = ("--enable-multimodal", "--trust-remote-code")
    assert scan_fixture("vision") == [
        ("org/plain-vl", added),
        ("org/listed-vl", (*added, "--cuda-graph-max-bs=4")),
        ("org/omni", (*added, "--mem-fraction-static=0.90", "--disable-cuda-graph")),
        ("org/untrusted", ("--enable-multimodal",)),
    ]


def test_what_helper_classes_add_is_known() -> None:
    head = ("--trust-remote-code", "--cuda-graph-max-bs-decode", "64", "--enable-multimodal")
    wide = ("--tp", "8", "--dp", "2", "--enable-dp-attention", "--mm-enable-dp-encoder")
    found = scan_fixture("mmmu")
    assert found[:2] == [
        (
            "org/mimo",
            (*head, "--mem-fraction-static", "0.65", *wide, "--speculative-algorithm", "EAGLE"),
        ),
        ("org/mimo", (*head, "--mem-fraction-static", "0.8")),
    ]
    model, args = found[2]
    assert model == "org/dsa"
    assert args[:5] == ("--trust-remote-code", "--tp", "8", "--attn-dp-size", "8")
    assert "--speculative-num-steps 3" in " ".join(args)


def test_diffusion_cases_name_their_servers() -> None:
    assert scan_fixture("diffusion") == [
        ("org/image", ("--num-gpus", "1")),
        (
            "org/image",
            (
                *("--num-gpus", "1", "--transformer-path", "org/image-fp8"),
                "--enable-torch-compile=false",
            ),
        ),
        (None, "model: EDIT_MODEL is imported"),
        ("org/image", "not a constant: CONFIGS / 'it.yaml'"),
        ("org/video", ("--num-gpus", "2", "--enable-cfg-parallel")),
        ("org/video", ("--num-gpus", "2", "--tp-size", "2", "--ulysses-degree=1")),
        ("org/image", ("--num-gpus", "4", "--lora-path", "org/lora")),
    ]


def test_templates_are_not_followed() -> None:
    reason = "launched by a class that is not followed: Base"
    assert scan_fixture("templates") == [
        (None, "model: it is None"),
        ("org/one", reason),
        ("org/two", reason),
    ]


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
        "model: model is a parameter",
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


def test_files_that_are_not_python_are_reported(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def popen_launch_server(:\n")
    (tmp_path / "binary.py").write_bytes(b"popen_launch_\x00\x01\xff" * 50)
    (tmp_path / "latin.py").write_bytes(b"popen_launch_server('\xe9')\n")
    (tmp_path / "deep.py").write_text("popen_launch_server(" + "-" * 100_000 + "1)\n")
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
    assert reasons.keys() == bad_files  # "up" leads to what is read anyway, "loop" to nothing
    assert reasons["broken.py"].startswith("not Python: ")
    assert reasons["fifo.py"] == "not a regular file"
    assert reasons["self.py"] == os.strerror(40)


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text("popen_launch_server('org/m', URL)\n")
    assert len(find_launches([file, tmp_path, file]).launches) == 1


def test_a_path_that_does_not_exist_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        find_launches([tmp_path / "gone"])


def test_invalid_escapes_in_tests_are_no_warning_of_ours(tmp_path: Path) -> None:
    assert scan(tmp_path, 'x = "\\d"\n') == []


def test_an_empty_folder_has_no_launches(tmp_path: Path) -> None:
    assert find_launches([tmp_path]) == FoundLaunches((), ())

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.launch.recorded import find_undeclared, read_releases
from warmup.engine.flags import make_parser
from warmup.launch.arguments import is_neutral, parse, part_monitors
from warmup.launch.options import NEUTRAL, SPELLINGS

LATEST = {release.engine: release for release in read_releases()}  # sorted by version


@pytest.mark.parametrize(
    ("args", "value"),
    [
        ([], None),
        (["--dp", "8"], "8"),
        (["--dp=8"], "8"),
        (["--dp", "2", "--dp-size", "4"], "4"),
        (["--dp-size", "4", "--dp", "2"], "2"),
        (["--dp"], ""),
        (["--dp="], ""),
        (["--dp", "--other"], ""),
        (["--dp", "-1"], "-1"),
        (["--dp", "-.5"], "-.5"),
        (["--dp", "-"], "-"),
        (["--dp", "1", "2"], "1"),
        (["--other", "--dpx", "3"], None),
        (["--other", "--", "--dp", "3"], None),
        (["--dp", "--", "3"], ""),
    ],
)
def test_find_reads_as_argparse_does(args: list[str], value: str | None) -> None:
    assert parse(args, "sglang").find("--dp-size") == value


def test_what_stands_where() -> None:
    arguments = parse(["a", "--x=1", "b", "--y", "2", "3", "-z", "--x", "4", "--", "--y"], "sglang")
    assert arguments.values == {
        "": ("a", "b"),
        "--y": ("2", "3"),
        "-z": (),
        "--x": ("4",),
        "--": ("--y",),
    }
    assert arguments.options[1] == ("--x", ("1",))


def test_a_short_option_may_have_its_value_behind_an_equals_sign() -> None:
    assert parse(["-tp=8"], "vllm").values == {"--tensor-parallel-size": ("8",)}
    assert parse(["-tp=8"], "vllm").options == (("-tp=8", ()),)


@pytest.mark.parametrize(
    ("version", "left"),
    [
        ("0.23.0", ["--jit_monitor_mode=error", "--jit-monitor-verbose"]),
        ("0.24.1rc1", ["--jit_monitor_mode=error"]),
        ("0.25.0", []),
        ("1.0.0+cu130", []),
        ("unreadable: silent", []),
        (None, []),
    ],
)
def test_monitors_that_a_release_lacks_are_left_away(version: str | None, left: list[str]) -> None:
    argv = ["serve", "m", "--jit_monitor_mode=error", "--jit-monitor-verbose", "--port", "1"]
    kept, found = part_monitors(argv, "vllm", lambda: version)
    assert list(found) == left
    assert list(kept) == [arg for arg in argv if arg not in left]


def test_the_value_goes_with_its_monitor_and_nobody_is_asked_without_one() -> None:
    def get_version() -> str:
        raise AssertionError("asked for nothing")

    assert part_monitors(["--port", "1"], "vllm", get_version) == (("--port", "1"), ())
    other = ["--jit-monitor-mode", "error"]
    assert part_monitors(other, "sglang", get_version) == (tuple(other), ())
    argv = ["m", "--jit-monitor-mode", "error", "--port", "1"]
    assert part_monitors(argv, "vllm", lambda: "0.20.2") == (
        ("m", "--port", "1"),
        ("--jit-monitor-mode", "error"),
    )


def test_underscores_are_dashes_where_the_engine_says_so() -> None:
    assert parse(["--served_model_name", "a_b"], "vllm").find("--served-model-name") == "a_b"
    assert parse(["--served_model_name", "a_b"], "sglang").find("--served-model-name") is None


def test_one_of_several_names_the_last_used_wins() -> None:
    arguments = parse(["--b", "1", "--a", "2", "--b", "3"], "command")
    assert arguments.find("--a", "--b") == "3"
    assert arguments.find("--b", "--a") == "3"


WORDS = st.sampled_from(["--dp", "--dp-size", "--name", "--dp=3", "--name=-1", "-1", "x", "-", "5"])


@given(st.lists(WORDS, max_size=7))
def test_argparse_agrees(args: list[str]) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--dp-size", "--dp", nargs="*", dest="dp")
    parser.add_argument("--name", nargs="*")
    parser.add_argument("rest", nargs="*")
    try:
        said, extra = parser.parse_known_args(args)
    except argparse.ArgumentError:
        return
    found = parse(args, "sglang").values
    if not extra:
        assert found.get("--dp-size") == (None if said.dp is None else tuple(said.dp))
        assert found.get("--name") == (None if said.name is None else tuple(said.name))


@pytest.mark.parametrize("engine", SPELLINGS)
def test_every_spelling_is_one_that_the_release_declares(engine: str) -> None:
    names = [name for known, others in SPELLINGS[engine].items() for name in (known, *others)]
    assert find_undeclared(names, LATEST[engine].options) == []
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("engine", SPELLINGS)
def test_a_declared_abbreviation_is_of_the_option_that_it_stands_for(engine: str) -> None:
    declared = LATEST[engine].options
    for known, others in SPELLINGS[engine].items():
        for other in set(others) - declared:
            assert [option for option in declared if option.startswith(other)] == [known]


@pytest.mark.parametrize("engine", NEUTRAL)
def test_every_neutral_option_is_declared(engine: str) -> None:
    own = make_parser()._option_string_actions  # the reference engine is of this tree
    options = own if engine == "reference" else LATEST[engine].options
    for known in NEUTRAL[engine]:
        assert any(
            option.startswith(known[:-1]) if known.endswith("*") else option == known
            for option in options
        ), known


@pytest.mark.parametrize(
    "name",
    ["--tp-size", "--attention-backend", "--dtype", "--quantization", "--enable-torch-compile",
     "--kv-cache-dtype", "--load-format", "--enable-multimodal", "--logits-processors",
     "--unknown"],
)  # fmt: skip
@pytest.mark.parametrize("engine", ["sglang", "sglang-diffusion", "vllm", "command"])
def test_what_may_choose_a_kernel_is_not_neutral(name: str, engine: str) -> None:
    assert not is_neutral(name, engine)

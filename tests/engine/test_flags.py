from __future__ import annotations

import json
from pathlib import Path

import pytest

from warmup.engine.args import ServerArgs
from warmup.engine.flags import parse, parse_resolutions
from warmup.words.errors import UsageError


def get_args(*argv: str) -> ServerArgs:
    return parse(["--model", "m", *argv])[0]


def get_error(*argv: str) -> str:
    with pytest.raises(UsageError) as caught:
        get_args(*argv)
    return caught.value.render()


def test_serve_warms_in_server_mode_by_default() -> None:
    args = get_args()
    assert args.mode == "server"
    assert args.fail_policy == "continue"
    assert args.world_size == 1
    assert not args.cfg_parallel


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        (["512x512", "1024x768"], [(512, 512), (1024, 768)]),
        (["512x512,1024x768"], [(512, 512), (1024, 768)]),
        (["512x512,", "64X64"], [(512, 512), (64, 64)]),
        (["64x64", "64x64"], [(64, 64)]),
    ],
)
def test_resolutions(words: list[str], sizes: list[tuple[int, int]]) -> None:
    assert parse_resolutions(words) == sizes
    assert get_args("--warmup-resolutions", *words).warmup_resolutions == tuple(sizes)


@pytest.mark.parametrize(
    "word", ["foo", "512x", "x512", "0x0", "512x0", "-64x64", "512", "5.5x4", "512x512x3", ",", ""]
)
def test_bad_resolutions_are_usage_errors(word: str) -> None:
    assert "warmup-resolutions" in get_error(f"--warmup-resolutions={word}")


def test_a_negative_resolution_as_a_word_of_its_own_is_one_too() -> None:
    get_error("--warmup-resolutions", "-64x64")


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text('port = 1\nwarmup-steps = 3\nwarmup_resolutions = "64x64,96x96"\n')
    args = get_args("--config", str(path), "--port", "2")
    assert args.port == 2
    assert args.warmup_steps == 3
    assert args.warmup_resolutions == ((64, 64), (96, 96))


def test_a_json_file_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    path.write_text(json.dumps({"warmup": False, "hold_timeout": 4}))
    args = get_args("--config", str(path))
    assert args.mode == "off"
    assert args.hold_timeout == 4.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense = 1", "unknown key 'nonsense'"),
        ('port = "high"', "port"),
        ("port = ", "cannot read"),
        ("warmup_resolutions = [[64, 64]]", "warmup_resolutions"),
        ('warmup_mode = "never"', "warmup_mode"),
    ],
)
def test_a_wrong_file_is_a_usage_error(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "server.toml"
    path.write_text(text)
    assert said in get_error("--config", str(path))


@pytest.mark.parametrize(
    "argv",
    [
        ("--warmup", "false", "--warmup-mode", "server"),
        ("--warmup", "false", "--warmup-mode", "request"),
        ("--warmup", "true", "--warmup-mode", "off"),
        ("--warmup", "false", "--warmup-resolutions", "64x64"),
        ("--warmup-mode", "off", "--warmup-resolutions", "64x64"),
        ("--num-gpus", "2", "--tp", "4"),
        ("--num-gpus", "2", "--enable-cfg-parallel", "--cfg-parallel-size", "1"),
    ],
)
def test_contradictions_are_never_silent(argv: tuple[str, ...]) -> None:
    assert "contradicts" in get_error(*argv)


def test_a_file_that_disables_contradicts_a_flag_that_asks(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text("warmup = false\n")
    assert get_args("--config", str(path)).mode == "off"
    assert "contradicts" in get_error("--config", str(path), "--warmup-resolutions", "64x64")
    assert get_args("--config", str(path), "--warmup", "true").mode == "server"


def test_a_flag_that_disables_wins_over_a_file_that_asks(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text('warmup_mode = "server"\nwarmup_resolutions = ["64x64"]\n')
    assert get_args("--config", str(path), "--warmup", "false").mode == "off"
    assert get_args("--config", str(path), "--warmup-mode", "off").mode == "off"


def test_warmup_without_a_value_means_true() -> None:
    assert get_args("--warmup").warmup is True
    assert get_args("--warmup", "--warmup-mode", "request").mode == "request"


def test_disagg_role_disables_server_warmup_only() -> None:
    assert get_args("--disagg-role", "prefill").mode == "off"
    assert get_args("--disagg-role", "prefill", "--warmup-mode", "request").mode == "request"


def test_asked_for_resolutions_must_warm() -> None:
    assert get_args("--warmup-resolutions", "64x64").fail_policy == "abort"
    policy = ("--warmup-fail-policy", "continue")
    assert get_args("--warmup-resolutions", "64x64", *policy).fail_policy == "continue"


def test_cfg_parallel_needs_devices() -> None:
    assert "num_gpus == 1" in get_error("--enable-cfg-parallel")
    assert "num_gpus == 1" in get_error("--cfg-parallel-size", "2", "--num-gpus", "1")
    assert "multiple" in get_error("--num-gpus", "3", "--enable-cfg-parallel")
    assert get_args("--num-gpus", "4", "--enable-cfg-parallel").cfg_size == 2


@pytest.mark.parametrize(
    "argv",
    [
        ("--num-gpus", "0"),
        ("--port", "70000"),
        ("--warmup-steps", "0"),
        ("--warmup-deadline", "-1"),
        ("--dist-timeout", "nan"),
        ("--warmup-sampling-params", "[1]"),
        ("--warmup-sampling-params", "{"),
        ("--warmup", "maybe"),
        ("--no-such-flag",),
    ],
)
def test_bad_values_are_usage_errors(argv: tuple[str, ...]) -> None:
    get_error(*argv)


def test_a_model_is_needed_unless_one_is_made() -> None:
    with pytest.raises(UsageError, match="--model is missing"):
        parse([])
    assert parse(["--make-tiny", "sd3", "d"])[1] == ("sd3", "d")

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.commands.hosts import make_session
from tests.state.helpers import make_home, make_launch, make_vector, warm
from warmup.caches.manifest import FamilySummary
from warmup.commands.why import why
from warmup.launch.launch import Launch, RequestSpec
from warmup.state.home import Home
from warmup.state.version_vector import VersionVector
from warmup.words.errors import UsageError

LAUNCH, VECTOR = make_launch(), make_vector()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path)


def ask(
    capsys: pytest.CaptureFixture[str], home: Home, launch: Launch, vector: VersionVector
) -> dict[str, Any]:
    status = why(make_session(home, vector, [launch]), json_output=True)
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert answer["exit_code"] == status == (0 if answer["state"] == "warm" else 1)
    assert answer["schema"] == 1
    return answer


def test_warm(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    marker = warm(home, LAUNCH, VECTOR)
    answer = ask(capsys, home, LAUNCH, VECTOR)
    assert (answer["state"], answer["check"]) == ("warm", "fresh")
    assert answer["marker"] == str(home.markers / f"{marker.name}.json")
    assert (answer["changes"], answer["lost_entries"], answer["lost_seconds"]) == ([], 0, 0.0)


def test_never_warmed(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, home, LAUNCH, VECTOR)
    assert (answer["check"], answer["nearest"], answer["marker"]) == ("missing", None, None)


def test_an_ingredient_changed(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    marker = warm(home, LAUNCH, VECTOR)
    answer = ask(capsys, home, LAUNCH, make_vector(triton="4.0"))
    assert answer["check"] == "stale"
    assert answer["nearest"]["version_key"] == marker.version_key
    assert answer["changes"] == [
        {
            "name": "triton",
            "old": "3.9.0",
            "new": "4.0",
            "families": ["inductor", "triton", "vllm"],
            "entries": {"triton": 9},
        }
    ]
    assert (answer["lost_entries"], answer["lost_seconds"]) == (9, 41.2)


def test_a_new_engine_loses_all_that_it_had_filled(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy of the engine's list lacked flashinfer, quack, torch_extensions and cuda_driver."""
    filled = {
        name: FamilySummary(f"/caches/{name}", 10, 100, "0" * 64)
        for name in ("deep_gemm", "flashinfer", "quack", "torch_extensions", "cuda_driver")
    }
    warm(home, LAUNCH, make_vector(**{"engine:sglang": "0.5.22"}), families=filled)
    answer = ask(capsys, home, LAUNCH, make_vector(**{"engine:sglang": "0.5.23"}))
    assert answer["lost_entries"] == 50
    assert answer["changes"][0]["entries"] == dict.fromkeys(filled, 10)


def test_the_nearest_marker_is_the_one_with_the_fewest_changes(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    near = warm(home, LAUNCH, make_vector(triton="3.8"))
    warm(home, LAUNCH, make_vector(triton="3.7", nvcc="12"))
    answer = ask(capsys, home, LAUNCH, VECTOR)
    assert answer["nearest"]["version_key"] == near.version_key
    assert [change["old"] for change in answer["changes"]] == ["3.8"]


def test_the_lines(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    marker = warm(home, LAUNCH, VECTOR)
    assert why(make_session(home, make_vector(triton="4.0", nvcc="14"), [LAUNCH])) == 1
    assert capsys.readouterr().out.splitlines() == [
        "org/Name-1B:2 is cold: triton 3.9.0 → 4.0, nvcc 13.0.88 → 14",
        f"  nearest marker: {marker.created}  {home.markers / marker.name}.json",
        "  triton  3.9.0 → 4.0  touches inductor, triton (9 entries), vllm",
        "  nvcc    13.0.88 → 14  touches deep_gemm (41 entries), flashinfer, tilelang,"
        " torch_extensions, tvm_ffi",
        "  went with it: 50 entries; warming took 41.2 s then",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fallback_args": ("--dp", "2")}, ["argument --enable-dp-attention removed"]),
        (
            {"fallback_args": ("--enable-dp-attention", "--dp", "4", "--new", "a b")},
            ["argument --dp 2 → 4", "argument --new 'a b' added"],
        ),
        ({"env": {"DG_X": "1"}}, ["variable SGLANG_ENABLE_JIT_DEEPGEMM 1 removed"]),
        ({"tp": 4, "engine": "vllm"}, ["engine sglang → vllm", "tp 2 → 4"]),
        ({"weights": "dummy"}, ["weights real → dummy"]),
        ({"command": ("serve", "-a")}, ["command serve added", "command -a added"]),
    ],
)
def test_the_launch_differs(
    home: Home, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], expected: list[str]
) -> None:
    warm(home, LAUNCH, VECTOR)
    answer = ask(capsys, home, make_launch(**changes), VECTOR)
    assert answer["check"] == "missing"
    for text in expected:
        assert text in answer["reason"]
    assert answer["lost_entries"] == 50
    assert answer["changes"] == []


def test_another_order_of_flags_is_no_other_launch(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    warm(home, LAUNCH, VECTOR)
    reordered = make_launch(fallback_args=("--enable-dp-attention", "--dp=2"))
    assert ask(capsys, home, reordered, VECTOR)["state"] == "warm"


def test_an_order_that_matters_is_told(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    warm(home, make_launch(command=("python", "-O", "-m", "serve")), VECTOR)
    answer = ask(capsys, home, make_launch(command=("python", "-m", "serve", "-O")), VECTOR)
    assert answer["launch_changes"] == [
        {"name": "command", "old": "python -O -m serve", "new": "python -m serve -O"}
    ]


def test_the_least_different_launch_is_compared(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    warm(home, make_launch(tp=8, engine="vllm", env={}), VECTOR)
    near = warm(home, make_launch(tp=4), VECTOR)
    warm(home, make_launch(model="org/Other"), VECTOR)
    answer = ask(capsys, home, LAUNCH, VECTOR)
    assert answer["nearest"]["launch_key"] == near.launch_key
    assert answer["launch_changes"] == [{"name": "tp", "old": "4", "new": "2"}]


def test_a_corrupt_marker(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    path = home.markers / f"{warm(home, LAUNCH, VECTOR).name}.json"
    path.write_bytes(path.read_bytes()[:-9])
    answer = ask(capsys, home, LAUNCH, VECTOR)
    assert (answer["state"], answer["check"]) == ("cold", "corrupt")
    [problem] = answer["problems"]
    assert (problem["path"], problem["kind"]) == (str(path), "corrupt")
    assert why(make_session(home, VECTOR, [LAUNCH])) == 1
    assert str(path) in capsys.readouterr().out


def test_a_manifest_that_is_gone(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (home.manifests / warm(home, LAUNCH, VECTOR).manifest).unlink()
    answer = ask(capsys, home, LAUNCH, VECTOR)
    assert answer["check"] == "dangling"
    assert (answer["changes"], answer["lost_entries"]) == ([], 50)


def test_a_model_of_several_sizes_must_be_named_with_one(home: Home) -> None:
    sizes = [make_launch(tp=2), make_launch(tp=4)]
    with pytest.raises(UsageError, match="name one of org/Name-1B:2, org/Name-1B:4"):
        why(make_session(home, VECTOR, sizes))


def test_one_is_one(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    one = {"triton": FamilySummary("/caches/triton", 1, 100, "1" * 64)}
    warm(home, LAUNCH, VECTOR, families=one)
    why(make_session(home, make_vector(triton="4.0"), [LAUNCH]))
    text = capsys.readouterr().out
    assert "triton (1 entry)" in text
    assert "went with it: 1 entry;" in text


@pytest.mark.parametrize(
    ("asked", "made", "reason", "changes"),
    [
        (
            {"ladder": "full"},
            {},
            "warmed with ladder short, asked for full",
            [{"name": "ladder", "old": "short", "new": "full"}],
        ),
        (
            {"requests": (RequestSpec(path="/a"), RequestSpec(path="/b"))},
            {"ladder": "own:0123456789abcdef"},
            "its own requests are others now: warmed with ladder own:0123456789abcdef,"
            " asked for own:",
            None,
        ),
        (
            {},
            {"warmed_by": "kernels"},
            "only its kernels were compiled, by no server",
            [{"name": "warmed by", "old": "kernels", "new": "server"}],
        ),
        ({"prove": True}, {}, "warm, but not proven", None),
    ],
)
def test_a_warm_up_that_did_less_than_is_asked_for_now(
    home: Home,
    capsys: pytest.CaptureFixture[str],
    asked: dict[str, Any],
    made: dict[str, Any],
    reason: str,
    changes: list[dict[str, str]] | None,
) -> None:
    """As `run` and `plan` have it; the marker itself holds, so nothing went with it."""
    marker = warm(home, LAUNCH, VECTOR, **made)
    launch = msgspec.structs.replace(LAUNCH, **asked)
    answer = ask(capsys, home, launch, VECTOR)
    assert (answer["state"], answer["check"], answer["marker"] is None) == ("cold", "fresh", False)
    assert answer["reason"].startswith(reason)
    assert answer["nearest"]["created"] == marker.created
    assert (answer["lost_entries"], answer["lost_seconds"]) == (0, 0.0)
    if changes is not None:
        assert answer["launch_changes"] == changes
    assert why(make_session(home, VECTOR, [launch])) == 1
    first, nearest, difference, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"org/Name-1B:2 is cold: {reason}")
    assert nearest.endswith(f"{marker.name}.json")
    assert difference.startswith("  launch: ")
    assert last == "  nothing went with it: its caches stand, and a boot asks for the rest"


def test_who_asks_for_less_than_was_done_is_warm(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    warm(home, LAUNCH, VECTOR, ladder="full")
    assert ask(capsys, home, LAUNCH, VECTOR)["state"] == "warm"
    kernels = msgspec.structs.replace(LAUNCH, strategy="kernels")
    warm(home, LAUNCH, VECTOR, warmed_by="kernels")
    assert ask(capsys, home, kernels, VECTOR)["state"] == "warm"

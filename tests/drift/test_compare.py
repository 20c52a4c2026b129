from __future__ import annotations

import pytest

from tests.drift.helpers import make_launch
from warmup.drift.compare import Drift, compare
from warmup.drift.resolve import Unresolved
from warmup.drift.scan import FoundLaunch
from warmup.launch.launch import Launch


def make_found(*args: str, model: str | None = "org/m") -> FoundLaunch:
    return FoundLaunch("t.py", 3, model, args if model else Unresolved("model: it is None"))


@pytest.mark.parametrize(
    ("tests", "workflow"),
    [
        (("--tp", "8", "--dp", "8"), ("--dp", "8")),
        (("--tp=8", "--dp=8"), ("--dp-size", "8")),
        (("--tensor-parallel-size", "8", "--a", "--b", "1"), ("--b", "1", "--a")),
        (("--tp", "8", "--host", "0.0.0.0", "--port", "1", "--model-path", "x"), ()),
        (("--tp", "4", "--tp-size=8"), ()),
        (("--tp", "8", "--bias", "-1.5"), ("--bias=-1.5",)),
        (("--tp", "8", "--mem-frac", "0.7"), ("--mem-fraction-static=0.7",)),
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


def test_models_that_the_workflow_lacks_are_reported_and_so_is_the_unknown() -> None:
    found = [
        make_found("--tp", "4", model="org/other"),
        make_found("--x", model=None),
        FoundLaunch("t.py", 9, "org/m", Unresolved("a call: f()")),
        FoundLaunch("t.py", 11, "org/third", Unresolved("a call: f()")),
    ]
    drifts = compare(found, [make_launch()])
    assert [(each.model, each.tp, each.is_unlisted, each.unresolved) for each in drifts] == [
        ("org/other", 4, True, None),
        (None, None, False, "model: it is None"),
        ("org/m", None, False, "a call: f()"),
        ("org/third", None, True, None),
    ]


@pytest.mark.parametrize(
    "neutral",
    [
        ("--reasoning-parser", "qwen3", "--tool-call-parser=qwen"),
        ("--enable-metrics", "--log-level", "debug"),
        ("--model-loader-extra-config", '{"num_threads": 64}'),
    ],
)
def test_options_that_compile_nothing_are_not_drift(neutral: tuple[str, ...]) -> None:
    launch = make_launch("org/m", 8, "--dp", "8")
    assert compare([make_found("--tp", "8", "--dp", "8", *neutral)], [launch]) == []
    assert compare([make_found("--tp", "8")], [make_launch("org/m", 8, *neutral)]) == []


def test_gpus_of_a_diffusion_server_are_its_size() -> None:
    launch = Launch(model="org/v", tp=2, engine="sglang-diffusion", python="python")
    found = FoundLaunch("t.py", 3, "org/v", ("--num-gpus", "2"), "--num-gpus")
    assert compare([found], [launch]) == []
    found = FoundLaunch("t.py", 3, "org/v", ("--num-gpus", "1", "--tp-size", "2"), "--num-gpus")
    (drift,) = compare([found], [launch])
    assert drift.missing_in_workflow == ("--tp-size 2", "--num-gpus 1")
    assert drift.missing_in_tests == ("--num-gpus 2",)


def test_a_parallel_size_of_one_is_as_good_as_none() -> None:
    found = make_found("--tp", "8", "--dp", "1", "--attn-dp-size=1")
    assert compare([found], [make_launch("org/m", 8, "--ep", "1")]) == []

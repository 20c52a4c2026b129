"""Every flag that an adapter or a workflow gives is one that recent releases declare."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.launch.helpers import make_allocation, make_launch
from tests.launch.recorded import Release, find_undeclared, read_releases
from warmup.launch.arguments import get_canonical
from warmup.launch.engine_table import get_engine
from warmup.launch.launch import Launch
from warmup.launch.options import NEUTRAL
from warmup.workflow.file import get_workflow
from warmup.workflow.resolve import Sources, resolve

RELEASES = read_releases()
# What comes before a server's own flags: interpreter, -m, module (and `serve`).
NUM_PREFIX = {"sglang": 3, "sglang-diffusion": 4, "vllm": 4, "transformers": 4}
WORKFLOWS = sorted((Path(__file__).parents[2] / "workflows").glob("*.toml"))


def get_flags(launch: Launch) -> list[str]:
    engine = get_engine(launch.engine)
    allocation = make_allocation(num_extra_ports=engine.num_extra_ports)
    return engine.get_argv(launch, allocation)[NUM_PREFIX[launch.engine] :]


def make_fullest_launches(engine: str) -> list[Launch]:
    """Launches that between them make the adapter give every flag it has."""
    settings: dict[str, Any] = {"tp": 8, "revision": "abc", "trust_remote_code": True}
    launches = [make_launch(engine, **settings), make_launch(engine, **settings, weights="dummy")]
    return [launch for launch in launches if get_engine(engine).find_problem(launch) is None]


def find_releases(engine: str) -> list[Release]:
    return [release for release in RELEASES if release.engine == engine]


def test_enough_releases_are_recorded() -> None:
    counts = Counter(release.engine for release in RELEASES)
    assert counts["sglang"] >= 2
    assert counts["sglang-diffusion"] >= 2
    assert counts["vllm"] >= 2
    assert counts["transformers"] >= 1
    assert set(counts) == set(NUM_PREFIX)


@pytest.mark.parametrize("release", RELEASES, ids=lambda r: f"{r.engine}-{r.version}")
def test_an_adapter_gives_only_declared_flags(release: Release) -> None:
    launches = make_fullest_launches(release.engine)
    assert launches
    for launch in launches:
        assert find_undeclared(get_flags(launch), release.options) == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_gives_only_declared_flags(path: Path) -> None:
    launches = resolve([], Sources(workflow=get_workflow(path), cwd=path.parent))
    for launch in launches:
        for release in find_releases(launch.engine):
            undeclared = find_undeclared(get_flags(launch), release.options)
            assert undeclared == [], f"{launch.name}: {release.engine} {release.version}"


@pytest.mark.parametrize("engine", NUM_PREFIX)
def test_a_renamed_flag_is_caught(engine: str) -> None:
    launch = make_fullest_launches(engine)[0]
    flags = [flag for flag in get_flags(launch) if flag.startswith("--")]
    assert flags
    for flag in flags:
        # Without those either of which the old name would be an abbreviation.
        declared = find_releases(engine)[-1].options
        renamed = {option for option in declared if not option.startswith(flag)}
        renamed.add("--renamed-" + flag[2:])
        assert find_undeclared(get_flags(launch), renamed) == [flag]


def test_a_workflows_typo_is_caught() -> None:
    release = find_releases("sglang")[-1]
    launch = make_launch("sglang", fallback_args=["--dp", "8", "--enable-dp-atention", "--tpp=2"])
    assert find_undeclared(get_flags(launch), release.options) == ["--enable-dp-atention", "--tpp"]


@pytest.mark.parametrize(
    ("argv", "undeclared"),
    [
        (["--dp", "8"], []),
        (["--d", "8"], ["--d"]),
        (["--dp-size=8"], []),
        (["-1", "-.5", "value"], ["-.5"]),
        (["-dp", "8"], ["-dp"]),
        (["--"], ["--"]),
    ],
)
def test_abbreviations_are_argparses(argv: list[str], undeclared: list[str]) -> None:
    assert find_undeclared(argv, {"--dp-size", "--device"}) == undeclared


@pytest.mark.parametrize("engine", NEUTRAL)
def test_an_option_that_compiles_nothing_is_declared(engine: str) -> None:
    """By a recorded release, or by the embedded engine itself: a typo would hide nothing."""
    declared = {option for release in find_releases(engine) for option in release.options}
    if engine == "reference":
        done = subprocess.run(
            [sys.executable, "-m", "warmup.engine.serve", "--help"],
            check=True,
            capture_output=True,
            text=True,
        )
        declared = set(re.findall(r"--[a-z-]+", done.stdout))
    wrong = [
        name
        for name in NEUTRAL[engine]
        if not any(fnmatchcase(get_canonical(option, engine), name) for option in declared)
    ]
    assert wrong == []

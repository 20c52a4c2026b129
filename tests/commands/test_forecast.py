from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.caches.caches import make_cubin
from tests.commands.hosts import HostSession, make_session
from tests.commands.warmed import Warmed, make_launch, make_vector
from warmup.commands.forecast import forecast
from warmup.launch.launch import Launch
from warmup.state.forecast import make_baseline, write_baseline
from warmup.state.home import Home
from warmup.state.version_vector import VersionVector
from warmup.words.errors import UsageError

OLD = {"torch": "2.13", "deep_gemm": "2.5"}


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    """Of a host that had warmed org/model in 41.5 s, with one DeepGEMM entry."""
    warmed = Warmed(tmp_path / "w", make_vector(**OLD))
    warmed.compile("fp8_gemm", make_cubin())
    warmed.mark()
    path = tmp_path / "h200.json"
    write_baseline(path, make_baseline(warmed.home, warmed.vector))
    return path


def make_host(path: Path, vector: VersionVector, launches: Sequence[Launch]) -> HostSession:
    return make_session(Home(path.parent / "home"), vector, launches)


def test_the_same_vector_costs_nothing(baseline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vector = make_vector(**OLD)
    assert forecast(make_host(baseline, vector, [make_launch()]), baseline=baseline) == 0
    assert "same version vector" in capsys.readouterr().out


def test_a_bump_is_priced_by_the_last_cold_time(
    baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vector = make_vector(torch="2.13", deep_gemm="2.6")
    launches = [make_launch(), make_launch("org/unknown")]
    status = forecast(make_host(baseline, vector, launches), baseline=baseline, json_output=True)
    document = json.loads(capsys.readouterr().out)
    assert status == document["exit_code"] == 1
    assert [each["name"] for each in document["changes"]] == ["deep_gemm"]
    known, unknown = document["cold"]
    assert (known["model"], known["seconds"], known["entries"]) == (
        "org/model", 41.5, {"deep_gemm": 1},
    )  # fmt: skip
    assert unknown["seconds"] is None and document["seconds"] == 41.5


def test_a_model_whose_own_vector_lacks_the_ingredient_stays_warm(
    baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two engines share a baseline; a bump of one leaves the other's models alone."""
    both = make_vector(**OLD, **{"engine:vllm": "0.34"})

    def get_vector(launch: Launch) -> VersionVector:
        return both if launch.model == "org/vllm" else make_vector(**OLD)

    home = Home(baseline.parent / "home")
    session = make_session(home, both, [make_launch(), make_launch("org/vllm")], read=get_vector)
    assert forecast(session, baseline=baseline, json_output=True) == 1
    cold = json.loads(capsys.readouterr().out)["cold"]
    assert [each["model"] for each in cold] == ["org/vllm"]


def test_lines_for_people(baseline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vector = make_vector(torch="2.13", deep_gemm="2.6")
    assert forecast(make_host(baseline, vector, [make_launch()]), baseline=baseline) == 1
    assert capsys.readouterr().out.splitlines() == [
        "changed     deep_gemm 2.5 → 2.6  (deep_gemm)",
        "cold        org/model:1: last took 41.5 s (1 deep_gemm)",
        "1 model would be cold, 41.5 s together",
    ]


def test_a_file_that_is_no_baseline_is_a_users_error(tmp_path: Path) -> None:
    vector = make_vector(**OLD)
    with pytest.raises(UsageError):
        forecast(
            make_host(tmp_path / "x", vector, [make_launch()]), baseline=tmp_path / "missing.json"
        )

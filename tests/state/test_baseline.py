from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.state.helpers import make_home, make_launch, make_vector, warm
from warmup.state.forecast import make_baseline, read_baseline, write_baseline
from warmup.words.errors import HostError, UsageError

VECTOR = make_vector()


def test_it_holds_the_last_cold_time_of_each_launch(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    warm(home, make_launch(), make_vector(triton="4.0"), seconds=7.0)
    warm(home, make_launch(tp=4), VECTOR, seconds=9.0)
    marker = warm(home, make_launch(), VECTOR, seconds=41.5)
    (home.markers / "bad.json").write_text("nonsense")
    path = tmp_path / "h200.json"
    write_baseline(path, make_baseline(home, VECTOR))
    baseline = read_baseline(path)
    assert baseline.vector == VECTOR
    assert baseline.version_key == VECTOR.key
    assert [(model.tp, model.seconds) for model in baseline.models] == [(2, 41.5), (4, 9.0)]
    assert baseline.models[0].launch_key == marker.launch_key
    assert baseline.models[0].entries == {"deep_gemm": 41, "triton": 9}


def test_a_workflows_vector_may_name_more_than_a_launchs(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    warm(home, make_launch(), make_vector(**{"engine:sglang": "0.5", "env:DG_X": "1"}))
    warm(home, make_launch(tp=4), make_vector(**{"engine:vllm": "0.10"}))
    whole = make_vector(**{"engine:sglang": "0.5", "engine:vllm": "0.11"})
    assert [model.tp for model in make_baseline(home, whole).models] == [2]


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', "\x00"])
def test_what_is_no_baseline(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="is not a baseline"):
        read_baseline(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_baseline(tmp_path)


def test_a_baseline_of_another_schema_or_edited_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_baseline(path, make_baseline(make_home(tmp_path), VECTOR))
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "schema": 2}))
    with pytest.raises(UsageError, match="schema 2"):
        read_baseline(path)
    data["ingredients"][0]["value"] = "9"
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match="version_key"):
        read_baseline(path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot write the baseline"):
        write_baseline(tmp_path / "no" / "x.json", make_baseline(make_home(tmp_path), VECTOR))


def test_committed_baselines_can_be_read() -> None:
    folder = Path(__file__).parents[2] / "markers"
    for path in folder.glob("*.json"):
        if path.name != "marker.schema.json":
            read_baseline(path)

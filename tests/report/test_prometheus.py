"""Read back by Prometheus' own parser."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.needs import load as load_package
from tests.report.helpers import make_result
from tests.report.homes import HOSTILE, make_results, read, record_run, write_run
from warmup.report.history import History
from warmup.report.prometheus import make_prometheus
from warmup.words.escape import get_printable

parser = load_package("prometheus_client.parser")


def load(history: History) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels; each name has one type and a help."""
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in parser.text_string_to_metric_families(make_prometheus(history)):
        assert family.name.startswith("warmup_ci_")
        assert (family.type, bool(family.documentation)) == ("gauge", True)
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, f"twice: {key}"
            assert sample.timestamp is None
            samples[key] = sample.value
    return samples


def test_a_run_as_metrics(tmp_path: Path) -> None:
    record_run(tmp_path, "r1", [make_result("warm", state="warm", seconds=0)])
    record_run(tmp_path, "r2", [make_result("org/a", tp=8, new_entries={"triton": 3})])
    found = load(read(tmp_path))
    model = ("model", "org/a:8")

    def get(name: str, *labels: tuple[str, str]) -> float:
        return found[f"warmup_ci_{name}", frozenset(labels)]

    assert get("runs") == 2
    assert get("run_exit_code") == 0
    assert get("run_finished") == 1
    assert get("model_warm", model) == 1
    assert get("model_duration_seconds", model) == 41.23
    assert get("phase_duration_seconds", model, ("phase", "ready")) == 0.25
    assert get("new_entries", model, ("family", "triton")) == 3
    assert get("gpu_seconds") == pytest.approx(8 * 41.23)
    assert get("cost") == pytest.approx(8 * 41.23 / 3600 * 2.5)
    launch = (("engine", "command"), ("tp", "8"), ("state", "warmed"))
    assert get("model_info", model, *launch) == 1


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_labels_come_back_as_they_were(tmp_path: Path, hostile: str) -> None:
    record_run(tmp_path, "r1", make_results(hostile), [hostile])
    found = load(read(tmp_path))
    name = get_printable(f"{hostile.encode('utf-8', 'backslashreplace').decode()}:8")
    assert ("warmup_ci_model_warm", frozenset({("model", name)})) in found or "\udcff" in hostile


def test_no_run_and_one_without_an_end(tmp_path: Path) -> None:
    assert load(History((), ()))["warmup_ci_runs", frozenset()] == 0
    write_run(tmp_path, "r1", [("run_started", None, {"models": ["a:1"]})])
    found = load(read(tmp_path))
    assert found["warmup_ci_run_finished", frozenset()] == 0
    assert ("warmup_ci_run_exit_code", frozenset()) not in found

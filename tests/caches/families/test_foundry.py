"""Archives of CUDA graphs, laid out as foundry-core 0.1.0rc3 does; nothing of it runs here."""

from __future__ import annotations

from pathlib import Path

import pytest

from warmup.caches.families.foundry import FAMILY
from warmup.state.relevant_env import find_touched


def test_where_it_lies_is_said_twice() -> None:
    assert [str(root) for root in FAMILY.get_roots({"HOME": "/h"})] == ["/h/.cache/foundry_archive"]
    env = {"HOME": "/h", "WARMUP_CI_FOUNDRY_ROOT": "/archives"}
    assert [str(root) for root in FAMILY.get_roots(env)] == ["/archives"]


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        ("rank_0/graph_3_FULL_t8_r8_UX_pcN.json", "rank_0"),
        ("rank_0/fatbin_image_packed.img", "rank_0"),
        ("deepseek/rank_12/graph_0_FULL_t8_r8_UX_pcN.cugraph", "deepseek/rank_12"),
        ("warmup_state.json", "warmup_state.json"),
        ("deepseek/warmup_state.json", "deepseek/warmup_state.json"),
        ("deepseek/notes.txt", None),
        ("deepseek/.tmp-quarantine-00000000-rank_1/graph_manifest.json", None),
    ],
)
def test_a_rank_is_an_entry(path: str, entry: str | None) -> None:
    assert FAMILY.find_entry(path) == entry


def test_a_rank_is_called_after_its_graphs() -> None:
    names = [
        "graph_0_FULL.json",
        "graph_0_FULL.cugraph",
        "graph_1_FULL.cugraph",
        "graph_manifest.json",
    ]
    assert FAMILY.get_kernel(Path("/nowhere"), "m/rank_3", names) == "2 graphs of m/rank_3"
    assert FAMILY.get_kernel(Path("/nowhere"), "m/rank_3", []) == "m/rank_3"


@pytest.mark.parametrize("name", ["torch", "driver", "gpu_name", "foundry-core", "engine:sglang"])
def test_an_archive_is_bound_to_what_it_was_saved_with(name: str) -> None:
    assert "foundry" in find_touched(name)

"""FlashInfer's tuning results, laid out as flashinfer 0.7.2, sglang 0.5.23 and vllm 0.33.0 do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from warmup.caches.families.flashinfer_autotune import FAMILY
from warmup.caches.family_table import get_variables
from warmup.caches.manifest import find_new, make_manifest
from warmup.caches.mark import find_new_after, make_mark
from warmup.caches.records import decode, encode
from warmup.caches.tuning import part_tuning, remove_tuning
from warmup.caches.verify import find_mismatch, verify_deep
from warmup.caches.walk import Snapshot, take_snapshot

NAME = "flashinfer_autotune"
KEY = "0.7.2.post1/sm90/0123456789abcdef"


def get_roots(**env: str) -> list[str]:
    return [str(root) for root in FAMILY.get_roots({"HOME": "/h", **env})]


def make_env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), **get_variables(tmp_path / "caches")}


def write_rank(folder: Path, rank: int = 0, num_tuned: int = 2) -> Path:
    """As sglang saves it: written beside itself, then renamed over what is there."""
    configs = {
        f"('gemm', 'Runner', (({1 << i}, 64),), ())": ["Runner", i] for i in range(num_tuned)
    }
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".autotuner_ab12.tmp"
    temporary.write_text(json.dumps({"_metadata": {"gpu": "NVIDIA H200"}, **configs}, indent=2))
    return temporary.replace(folder / f"rank_tp{rank}_pp0_dp0.json")


def snap(env: dict[str, str]) -> Snapshot:
    return take_snapshot([NAME], env)


def test_where_each_of_the_three_stores_lies() -> None:
    assert get_roots() == [
        "/h/.cache/flashinfer/autotune",
        "/h/.cache/sglang/.cache/flashinfer/autotune",
        "/h/.cache/sglang/flashinfer/autotune",
        "/h/.cache/vllm/flashinfer_autotune_cache",
    ]
    assert get_roots(
        FLASHINFER_WORKSPACE_BASE="/f", SGLANG_CACHE_DIR="/s", VLLM_CACHE_ROOT="/v"
    ) == [
        "/f/.cache/flashinfer/autotune",
        "/s/flashinfer/autotune",
        "/v/flashinfer_autotune_cache",
    ]
    assert get_roots(
        FLASHINFER_AUTOTUNE_CACHE_DIR="/a", VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR="~/b"
    ) == [
        "/a",
        "/h/.cache/sglang/flashinfer/autotune",
        "/h/b",
    ]


def test_under_a_cache_root_all_of_them_share_one_folder() -> None:
    """Packs lay a family out in one: what another store made would be placed where none looks."""
    variables = get_variables(Path("/c"))
    assert get_roots(**variables) == ["/c/flashinfer_autotune/flashinfer/autotune"]


@pytest.mark.parametrize(
    ("path", "entry", "kernel"),
    [
        (f"{KEY}/rank_tp0_pp0_dp0.json", KEY, "tuning of 0123456789abcdef"),
        (f"{KEY}/rank_tp1_pp0_dp0_gpuGPU-0a.json", KEY, "tuning of 0123456789abcdef"),
        ("flux3_prims_ts/NVIDIA_B200/0a/rank3.json", "flux3_prims_ts/NVIDIA_B200/0a",
         "tuning of 0a"),
        (f"{KEY}/runs/rank_tp0_pp0_dp0.20261124_143000.0a.json", None, ""),
        (f"{KEY}/runs/rank_tp0_pp0_dp0.json", None, ""),
        (f"{KEY}/.autotuner_ab12.tmp", None, ""),
        ("0.7.2/90a/c0ffee/autotune_configs_dp0_rank1.json", "0.7.2/90a/c0ffee",
         "tuning of c0ffee"),
        ("c0ffee/autotune_configs.json", "c0ffee", "tuning of c0ffee"),
        ("c0ffee/.autotune_configs_dp0_rank1.json.x1y2.tmp", None, ""),
        ("v2/0a/entries/1b.json", "v2/0a/entries/1b.json", "tuning of 1b"),
        ("v2/0a/manifest.json", "v2/0a/manifest.json", "tuning of manifest"),
        ("v2/0a/entries/.autotune_x.tmp", None, ""),
        ("0.7.2/90a/cached_ops/x/x.so", None, ""),
    ],
)  # fmt: skip
def test_a_file_belongs_to_an_entry(path: str, entry: str | None, kernel: str) -> None:
    assert FAMILY.find_entry(path) == entry
    if entry is not None:
        assert FAMILY.get_kernel(Path("/nowhere"), entry, [path]) == kernel
    elif path.endswith(".tmp"):
        assert FAMILY.is_temporary(path)


def test_a_managed_result_is_called_after_its_operation(tmp_path: Path) -> None:
    entry = {"key": "('trtllm::fused_moe::gemm1', 'MoERunner', ((8, 64),), ())", "tactic": [16, 3]}
    path = tmp_path / "v2" / "0a" / "entries" / "1b.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(entry, indent=2, sort_keys=True))
    kernel = FAMILY.get_kernel(tmp_path, "v2/0a/entries/1b.json", [""])
    assert kernel == "tuning of trtllm::fused_moe::gemm1"


def test_a_hit_rewrites_sglangs_file_and_makes_nothing_new(tmp_path: Path) -> None:
    env = make_env(tmp_path)
    folder = tmp_path / "caches" / NAME / "flashinfer" / "autotune" / KEY
    write_rank(folder)
    before, mark = snap(env), make_mark([NAME], env)
    manifest = decode(encode(make_manifest(before, before)))
    write_rank(folder)
    assert find_new(before, snap(env)) == {}
    assert find_new_after(mark) == {}
    assert find_mismatch(manifest, env) is None


def test_what_a_later_server_adds_is_new_and_breaks_no_marker(tmp_path: Path) -> None:
    """Two launches of a model share the file: each would turn the other cold for ever."""
    env = make_env(tmp_path)
    folder = tmp_path / "caches" / NAME / "flashinfer" / "autotune" / KEY
    write_rank(folder)
    before, mark = snap(env), make_mark([NAME], env)
    manifest = decode(encode(make_manifest(before, before)))
    path = write_rank(folder, num_tuned=3)
    assert [one.kernel for one in find_new(before, snap(env))[NAME]] == [
        "tuning of 0123456789abcdef"
    ]
    assert [one.entry for one in find_new_after(mark)[NAME]] == [KEY]
    assert find_mismatch(manifest, env) is None
    assert verify_deep(manifest) == []
    path.unlink()
    assert "rank_tp0_pp0_dp0.json is missing" in str(find_mismatch(manifest, env))
    assert [each.problem for each in verify_deep(manifest)] == ["is missing"]


def test_what_vllm_wrote_is_bound_by_its_content(tmp_path: Path) -> None:
    """It is written only where something was tuned."""
    env = make_env(tmp_path)
    folder = tmp_path / "caches" / NAME / "flashinfer" / "autotune" / "c0ffee"
    path = write_rank(folder).rename(folder / "autotune_configs_dp0_rank0.json")
    manifest = make_manifest(snap(env), snap(env))
    path.write_text("{}")
    assert "changed: 2 bytes" in str(find_mismatch(manifest, env))


def test_all_of_it_is_tuning_which_a_seed_does_without(tmp_path: Path) -> None:
    env = make_env(tmp_path)
    root = tmp_path / "caches" / NAME / "flashinfer" / "autotune"
    write_rank(root / KEY)
    (root / "v2" / "0a" / "entries").mkdir(parents=True)
    (root / "v2" / "0a" / "entries" / "1b.json").write_text("{}")
    left, told = part_tuning(snap(env))
    assert [found.entries for found in left.families[NAME]] == [{}]
    assert sorted(each.entry for each in told) == [KEY, "v2/0a/entries/1b.json"]
    remove_tuning(told)
    assert not list(root.rglob("*.json"))

"""Files as sglang 0.5.23 and vllm 0.33.0 leave them, one for each rank."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.caches.caches import set_mtime
from tests.caches.hazards.find import find
from warmup.caches.hazards.autotune import repair
from warmup.caches.hazards.rule import Facts, Finding
from warmup.caches.remove import remove_inside
from warmup.state.repair import repair_before_run

KEY = "0.7.2.post1/sm90/0123456789abcdef"
ENVIRONMENT = {"flashinfer_version": "0.7.2.post1", "gpu": "NVIDIA H200"}


def write(
    folder: Path, name: str, tactics: dict[str, int], *, age_s: float = 3600, **meta: str
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, object] = {
        f"('{op}', 'Runner', ((8, 64),), ())": ["Runner", n] for op, n in tactics.items()
    }
    document: dict[str, object] = {
        "_metadata": {**ENVIRONMENT, **meta},
        **results,
        "_generation": f"of {tactics}",
    }
    (folder / name).write_text(json.dumps(document, indent=2))
    set_mtime(folder / name, time.time() - age_s)
    return folder / name


def write_ranks(root: Path, *tactics: dict[str, int], age_s: float = 3600) -> Path:
    for rank, each in enumerate(tactics):
        write(root / KEY, f"rank_tp{rank}_pp0_dp0.json", each, age_s=age_s)
    return root / KEY


def look(root: Path) -> list[Finding]:
    return find("flashinfer_autotune", root)


def test_ranks_that_agree_are_well(tmp_path: Path) -> None:
    write_ranks(tmp_path, {"gemm": 3}, {"gemm": 3})
    write(tmp_path / "other", "rank_tp0_pp0_dp0.json", {"gemm": 9})
    assert look(tmp_path) == []


def test_two_tactics_for_one_shape_are_told(tmp_path: Path) -> None:
    folder = write_ranks(tmp_path, {"gemm": 3, "moe": 1}, {"gemm": 4, "moe": 1})
    (found,) = look(tmp_path)
    assert (found.rule, found.severity, found.entry) == ("autotune-ranks-differ", "error", KEY)
    assert found.path == str(folder) and found.is_repairable
    assert "rank_tp0_pp0_dp0.json and rank_tp1_pp0_dp0.json differ in 1 of 2" in found.message


def test_a_result_that_one_rank_alone_has_is_told(tmp_path: Path) -> None:
    write_ranks(tmp_path, {"gemm": 3}, {"gemm": 3, "moe": 1})
    assert "differ in 1 of 2" in look(tmp_path)[0].message


def test_a_rank_without_a_file_is_told(tmp_path: Path) -> None:
    write(tmp_path / KEY, "rank_tp0_pp0_dp0.json", {"gemm": 3})
    write(tmp_path / KEY, "rank_tp2_pp0_dp0.json", {"gemm": 3})
    assert "of 3 ranks, rank 1 has no file" in look(tmp_path)[0].message
    (tmp_path / KEY / "rank_tp0_pp0_dp0.json").unlink()
    assert "rank 0 has no file" in look(tmp_path)[0].message
    write(tmp_path / KEY, f"rank_tp{10**40}_pp0_dp0.json", {"gemm": 3})
    assert "rank 0 has no file" in look(tmp_path)[0].message


def test_files_that_name_a_gpu_are_of_servers_that_nobody_tells_apart(tmp_path: Path) -> None:
    for gpu in ("GPU-0a", "GPU-1b"):
        write(tmp_path / KEY, f"rank_tp0_pp0_dp0_gpu{gpu}.json", {gpu: 3})
    assert look(tmp_path) == []


def test_a_truncated_file_is_told(tmp_path: Path) -> None:
    folder = write_ranks(tmp_path, {"gemm": 3}, {"gemm": 3})
    path = folder / "rank_tp1_pp0_dp0.json"
    path.write_bytes(path.read_bytes()[:-3])
    assert "rank_tp1_pp0_dp0.json is not JSON" in look(tmp_path)[0].message


def test_stages_and_replicas_need_not_agree(tmp_path: Path) -> None:
    for pp, dp in ((0, 0), (0, 1), (1, 0)):
        for tp in (0, 1):
            write(tmp_path / KEY, f"rank_tp{tp}_pp{pp}_dp{dp}.json", {"gemm": 10 * pp + dp})
    assert look(tmp_path) == []
    write(tmp_path / KEY, "rank_tp1_pp0_dp1.json", {"gemm": 7})
    assert "rank_tp0_pp0_dp1.json and rank_tp1_pp0_dp1.json" in look(tmp_path)[0].message


def test_ranks_of_dp_attention_are_one_group(tmp_path: Path) -> None:
    """Each rank has a `dp` of its own, and all tune together."""
    for rank in range(4):
        write(tmp_path / KEY, f"rank_tp{rank}_pp0_dp{rank}.json", {"gemm": rank // 3})
    assert "rank_tp0_pp0_dp0.json and rank_tp3_pp0_dp3.json" in look(tmp_path)[0].message


def test_vllm_compares_environments_and_counts(tmp_path: Path) -> None:
    for rank, results in enumerate(({"gemm": 3, "of_rank_0": 1}, {"gemm": 4, "of_rank_1": 1})):
        write(tmp_path / "sha", f"autotune_configs_dp0_rank{rank}.json", results)
    assert look(tmp_path) == []
    path = write(tmp_path / "sha", "autotune_configs_dp0_rank1.json", {"gemm": 3})
    (found,) = look(tmp_path)
    assert "has 2 results, autotune_configs_dp0_rank1.json 1; right only for two" in found.message
    assert not found.is_repairable
    write(path.parent, path.name, {"gemm": 3, "moe": 1}, gpu="NVIDIA H100")
    (found,) = look(tmp_path)
    assert "of two environments" in found.message and found.is_repairable


@pytest.mark.parametrize("names", [("dp0_rank0", "dp1_rank1"), ("dp0_rank0", "dp1_rank0")])
def test_vllms_replicas_count_their_ranks_together_or_each_its_own(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    for name in names:
        write(tmp_path / "sha", f"autotune_configs_{name}.json", {"gemm": 3})
    assert look(tmp_path) == []


def test_all_ranks_are_put_in_quarantine_together(tmp_path: Path) -> None:
    write_ranks(tmp_path, {"gemm": 3}, {"gemm": 4})
    (found,) = look(tmp_path)
    assert "quarantine" in repair(found)
    assert look(tmp_path) == []
    assert len(list(tmp_path.rglob("rank_*.json"))) == 2
    with pytest.raises(FileNotFoundError):
        repair(found)


def test_what_a_server_is_writing_is_told_and_left_alone(tmp_path: Path) -> None:
    """Its ranks write theirs one after the other."""
    folder = write_ranks(tmp_path, {"gemm": 3}, {"gemm": 4}, age_s=1)
    (found,) = look(tmp_path)
    assert not found.is_repairable
    write_ranks(tmp_path, {"gemm": 3}, {"gemm": 4})
    (found,) = look(tmp_path)
    write(folder, "rank_tp0_pp0_dp0.json", {"gemm": 4}, age_s=0)
    with pytest.raises(OSError, match="just written"):
        repair(found)
    assert remove_inside(tmp_path, KEY)


def test_a_run_repairs_it_before_it_starts_a_server(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "FLASHINFER_AUTOTUNE_CACHE_DIR": str(tmp_path / "store")}
    write_ranks(tmp_path / "store", {"gemm": 3}, {"gemm": 4})
    (done,) = repair_before_run(["flashinfer_autotune"], [env], Facts(env=env))
    assert (done.rule, done.state) == ("autotune-ranks-differ", "done")
    assert not (tmp_path / "store" / KEY).exists()

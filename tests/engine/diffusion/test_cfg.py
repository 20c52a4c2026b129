from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.gloo import run_ranks
from warmup.engine.diffusion.stages import get_own_branches, run_branches
from warmup.engine.messages import RequestError
from warmup.engine.ranks import Ranks


@pytest.mark.parametrize("num_branches", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_branch_runs_once(num_branches: int, size: int) -> None:
    owned = [get_own_branches(num_branches, rank, size) for rank in range(size)]
    assert sorted(branch for own in owned for branch in own) == list(range(num_branches))
    assert all(branch % size == rank for rank, own in enumerate(owned) for branch in own)


def _gather(ranks: Ranks) -> dict[str, Any]:
    ranks.cfg_size = ranks.world_size
    ranks.cfg_rank = ranks.rank
    like = torch.zeros(2, 3)
    ran: list[int] = []

    def run(branch: int) -> torch.Tensor:
        ran.append(branch)
        return like + branch + 1

    found: dict[str, Any] = {}
    for count in (1, 2, 3):
        outputs = run_branches(ranks, count, like, run)
        found[str(count)] = [float(output[0, 0]) for output in outputs]
    found["ran"] = ran

    def fail(branch: int) -> torch.Tensor:
        if branch == 1:
            raise torch.OutOfMemoryError("no room")
        return like

    try:
        run_branches(ranks, 2, like, fail)
    except RequestError as error:
        found["failure"] = error.failure
    return found


def test_two_ranks_share_branches_and_failures(tmp_path: Path) -> None:
    first, second = run_ranks(tmp_path, _gather)
    for found in (first, second):
        assert (found["1"], found["2"], found["3"]) == ([1.0], [1.0, 2.0], [1.0, 2.0, 3.0])
        assert (found["failure"].kind, found["failure"].message) == (
            "oom",
            "rank 1: out of memory: no room",
        )
    assert first["ran"] == [0, 0, 0, 2]
    assert second["ran"] == [1, 1]

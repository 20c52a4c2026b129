"""Guidance over ranks: branch i of a denoising step runs on rank i mod n of the group.

Every rank enters the same collectives whatever the number of branches, so none can be left alone
in one (sglang#36489): a rank without a branch contributes zeros, and a rank that fails says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from warmup.engine.diffusion.contain import contain

if TYPE_CHECKING:
    from torch import Tensor

    from warmup.engine.ranks import Ranks


def get_own_branches(num_branches: int, cfg_rank: int, cfg_size: int) -> list[int]:
    """The branches that this rank computes: none, if there are fewer branches than ranks."""
    return list(range(cfg_rank, num_branches, cfg_size))


def run_branches(
    ranks: Ranks, num_branches: int, like: Tensor, run: Callable[[int], Tensor]
) -> Sequence[Tensor]:
    """The prediction of every branch, in branch order, on every rank.

    run: computes one branch, of the shape and type of `like`. Raises the same `RequestError` on
    every rank if one of them fails.
    """
    own = get_own_branches(num_branches, ranks.cfg_rank, ranks.cfg_size)
    computed = contain(ranks, lambda: [run(branch).to(like.dtype) for branch in own])
    if ranks.cfg_size == 1:
        return computed
    num_slots = -(-num_branches // ranks.cfg_size)
    padding = [like.new_zeros(like.shape)] * (num_slots - len(computed))
    gathered = ranks.gather_cfg([*computed, *padding])
    return [
        gathered[branch % ranks.cfg_size][branch // ranks.cfg_size]
        for branch in range(num_branches)
    ]

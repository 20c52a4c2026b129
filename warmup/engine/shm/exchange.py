"""A batch from rank 0 to every rank, with its image features in shared memory.

The rule: no rank may unlink before all ranks have opened. The known disaster (sglang#21465) is a
source rank that unlinked right after its broadcast; the others died with FileNotFoundError. So:

    broadcast → every rank opens (keeping errors) → barrier → rank 0 unlinks → all agree on failures

and only then may the model's own collectives start. Opening makes a private mapping, which
outlives the name, so nothing is copied.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from warmup.engine.shm import segment
from warmup.engine.shm.tensors import find_handles, open_all

log = logging.getLogger(__name__)

# Faults for tests, `RANK:SECONDS`: that rank sleeps between the broadcast and opening.
FAULT_VARIABLE = "WARMUP_CI_FAULT_SHM_DELAY"


class CpuGroup(Protocol):
    """The ranks' CPU group (gloo, also beside NCCL); every method is a collective."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    def broadcast(self, value: Any) -> Any:
        """Rank 0's `value`, on every rank; what the others pass is ignored."""

    def barrier(self) -> None: ...

    def sum_flags(self, flags: torch.Tensor) -> torch.Tensor:
        """Element-wise sum over the ranks of an integer tensor."""


@dataclass(frozen=True)
class Setup:
    """What decides, beside the batch, whether a barrier is needed. The same on every rank."""

    is_multimodal: bool
    dp_attention: bool = False


def needs_barrier(items: Sequence[Any], world_size: int, setup: Setup) -> bool:
    """Several ranks will open what one of them unlinks.

    Under DP attention ranks step independently, so a barrier of all would hang.
    """
    return (
        world_size > 1
        and setup.is_multimodal
        and not setup.dp_attention
        and next(find_handles(items), None) is not None
    )


@dataclass(frozen=True)
class Received:
    """items[i] holds tensors in place of handles; None where errors[i] says what went wrong.

    control is what rank 0 sent beside them. Equal on all ranks, but for the tensors' addresses.
    """

    control: Any
    items: list[Any]
    errors: list[str | None]


class Exchange:
    """One per rank, over one CPU group. `num_barriers` is `shm_barriers_total` of /metrics."""

    def __init__(self, group: CpuGroup, setup: Setup, directory: Path = segment.DIRECTORY) -> None:
        self._group = group
        self._setup = setup
        self._directory = directory
        self.num_barriers = 0

    def broadcast(self, control: Any = None, items: Sequence[Any] = ()) -> Received:
        """Send from rank 0 (the arguments of other ranks are ignored), receive on all.

        A feature that any rank failed to open fails its item on every rank; the others stand.
        """
        group = self._group
        message: tuple[Any, list[Any], bool] | None = None
        if group.rank == 0:
            decision = needs_barrier(items, group.world_size, self._setup)
            message = (control, self._localise(items, decision), decision)
        # Rank 0 decides for all: ranks that decide apart can disagree, and hang.
        control, sent, has_barrier = group.broadcast(message)
        _sleep_if_asked(group.rank)
        opened = [open_all(item, self._directory) for item in sent]
        if has_barrier:
            group.barrier()
            self.num_barriers += 1
        if group.rank == 0:
            for handle in find_handles(sent):
                segment.unlink(handle.name, self._directory)
        errors = [error for _, error in opened]
        if has_barrier:
            errors = self._agree(errors)
        items = [
            item if error is None else None for (item, _), error in zip(opened, errors, strict=True)
        ]
        return Received(control, items, errors)

    def _localise(self, items: Sequence[Any], has_barrier: bool) -> list[Any]:
        """What can be sent without a barrier: to several ranks, then, tensors and no handles."""
        if has_barrier or self._group.world_size == 1:
            return list(items)
        sent = []
        for item in items:
            opened, error = open_all(item, self._directory)
            for handle in find_handles(item):
                segment.unlink(handle.name, self._directory)
            # Gone already: the handle is sent for every rank to fail alike.
            sent.append(item if error else opened)
        return sent

    def _agree(self, errors: list[str | None]) -> list[str | None]:
        """Every rank marks its own failures in its own column, so all can name the ranks."""
        group = self._group
        flags = torch.zeros(len(errors), group.world_size, dtype=torch.int32)
        for row, error in enumerate(errors):
            if error is not None:
                log.error("rank %d: cannot open image features: %s", group.rank, error)
                flags[row, group.rank] = 1
        agreed: list[str | None] = []
        for row in group.sum_flags(flags).tolist():
            ranks = ", ".join(str(rank) for rank, failed in enumerate(row) if failed)
            agreed.append(f"image features could not be opened on rank {ranks}" if ranks else None)
        return agreed


def _sleep_if_asked(rank: int) -> None:
    fault = os.environ.get(FAULT_VARIABLE)
    if fault is not None:
        slow_rank, _, seconds = fault.partition(":")
        if int(slow_rank) == rank:
            time.sleep(float(seconds))

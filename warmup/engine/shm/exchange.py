"""Image features of a batch, out of shared memory, on every rank.

The rule: no rank may unlink before all ranks have opened. The known disaster (sglang#21465) is a
source rank that unlinked right after its broadcast; the others died with FileNotFoundError. So:

    broadcast → every rank opens (keeping errors) → barrier → rank 0 unlinks → all agree on failures

and only then may the model's own collectives start. Opening makes a private copy, so what is
opened outlives the name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from warmup.engine.messages import Failure
from warmup.engine.shm import segment
from warmup.engine.shm.tensors import Handle, find_handles, open_all

# A fault for tests, `RANK:SECONDS`: that rank sleeps between the broadcast and opening.
FAULT_VARIABLE = "WARMUP_CI_FAULT_SHM_DELAY"


class CpuGroup(Protocol):
    """What is used of `engine/ranks.py`'s `Ranks`: gloo, also beside NCCL."""

    rank: int
    world_size: int

    def broadcast(self, value: Any) -> Any:
        """Rank 0's `value`, on every rank."""

    def barrier(self) -> None: ...

    def agree_each(self, failures: Sequence[Failure | None]) -> list[Failure | None]:
        """For each place, one rank's failure if any rank has one; the same on every rank."""


@dataclass(frozen=True)
class Setup:
    """What decides, beside the batch, whether a barrier is needed. The same on every rank."""

    is_multimodal: bool
    dp_attention: bool = False


def needs_barrier(batch: Any, world_size: int, setup: Setup) -> bool:
    """Several ranks will open what one of them unlinks.

    Under DP attention ranks step independently, so a barrier of all would hang.
    """
    return (
        world_size > 1
        and setup.is_multimodal
        and not setup.dp_attention
        and next(find_handles(batch), None) is not None
    )


class FeatureExchange:
    """One per rank. `num_barriers` is `shm_barriers_total` of /metrics."""

    def __init__(self, ranks: CpuGroup, setup: Setup, directory: Path = segment.DIRECTORY) -> None:
        self._ranks = ranks
        self._setup = setup
        self._directory = directory
        self.num_barriers = 0

    def receive(self, items: Sequence[Any]) -> tuple[list[Any], list[Failure | None]]:
        """The items of a batch that rank 0 has just broadcast, with tensors in place of handles.

        A collective: every rank passes the same items. Where any rank failed to open a feature,
        every rank has None and the same failure; the other items stand.
        """
        ranks = self._ranks
        # Rank 0 decides for all: ranks that each decide can disagree, and hang.
        has_barrier, instead = ranks.broadcast(self._decide(items) if ranks.rank == 0 else None)
        if has_barrier:
            _sleep_if_asked(ranks.rank)
        opened = [open_all(item, self._directory) for item in instead or items]
        if has_barrier:
            ranks.barrier()
            self.num_barriers += 1
        if ranks.rank == 0:
            self._unlink(items)
        failures = [_find_failure(error) for _, error in opened]
        if has_barrier:
            failures = ranks.agree_each(failures)
        return [
            item if failure is None else None
            for (item, _), failure in zip(opened, failures, strict=True)
        ], failures

    def _decide(self, items: Sequence[Any]) -> tuple[bool, list[Any] | None]:
        """Whether there is a barrier; and if not, what the ranks shall take instead of `items`.

        Where ranks may not wait for one another, rank 0 sends them the tensors themselves. A
        handle that it cannot open is replaced by one that fails on every rank alike.
        """
        world_size = self._ranks.world_size
        if needs_barrier(items, world_size, self._setup):
            return True, None
        if world_size == 1 or next(find_handles(items), None) is None:
            return False, None
        sent: list[Any] = []
        for item in items:
            opened, error = open_all(item, self._directory)
            sent.append(opened if error is None else Handle("", (1,), "uint8"))
        return False, sent

    def _unlink(self, items: Sequence[Any]) -> None:
        for handle in find_handles(items):
            segment.unlink(handle.name, self._directory)


def _find_failure(error: str | None) -> Failure | None:
    if error is None:
        return None
    return Failure("internal", f"image features could not be opened: {error}")


def _sleep_if_asked(rank: int) -> None:
    fault = os.environ.get(FAULT_VARIABLE)
    if fault is not None:
        slow_rank, _, seconds = fault.partition(":")
        if int(slow_rank) == rank:
            time.sleep(float(seconds))

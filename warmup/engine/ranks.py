"""The ranks of one server: process groups and the few collectives that keep them together.

gloo over the CPU for control, always; NCCL between devices on GPUs, gloo where there are none.
`--dist-timeout` holds for both: gloo alone waits 30 minutes by default (sglang#39469).
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from warmup.engine.args import ServerArgs
from warmup.engine.messages import Failure

START_TIMEOUT = datetime.timedelta(hours=2)


class RankLost(Exception):
    """A collective failed: a rank died, hung past --dist-timeout or diverged. Fatal to the rank."""


class Ranks:
    """This rank's place among `world_size`, and its `device`.

    cfg_rank / cfg_size: place in its CFG-parallel group, ranks [k·size, (k+1)·size).
    With one rank every method works and talks to nobody. store: the path of a file that all ranks
    share, by which they find each other.
    """

    def __init__(self, args: ServerArgs, rank: int, store: str = "") -> None:
        self.rank = rank
        self.world_size = args.world_size
        self.cfg_size = args.cfg_size
        self.cfg_rank = rank % args.cfg_size
        self.device = _get_device(args.device, rank)
        self.cpu_group: Any = None
        self.device_group: Any = None
        self.cfg_group: Any = None
        if self.world_size > 1:
            self._connect(args.dist_timeout, store)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def _connect(self, timeout_s: float, path: str) -> None:
        # One node: the host's name need not resolve, and often does not in a container.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        timeout = datetime.timedelta(seconds=timeout_s)
        # A file, not a TCPStore: any user of the host may connect to a port and rewrite its keys.
        store = dist.FileStore(path, self.world_size)
        store.set_timeout(START_TIMEOUT)
        # All are here before any connects: --dist-timeout is of collectives, not of slow imports.
        store.set(f"rank{self.rank}", "here")
        store.wait([f"rank{rank}" for rank in range(self.world_size)], START_TIMEOUT)
        dist.init_process_group(
            "gloo", store=store, rank=self.rank, world_size=self.world_size, timeout=timeout
        )
        self.cpu_group = dist.group.WORLD
        everyone = list(range(self.world_size))
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        self.device_group = dist.new_group(everyone, timeout=timeout, backend=backend)
        for first in range(0, self.world_size, self.cfg_size):
            members = everyone[first : first + self.cfg_size]
            group = dist.new_group(members, timeout=timeout, backend=backend)
            if self.rank in members:
                self.cfg_group = group

    def meet(self) -> None:
        """Wait for every rank to have loaded, however long that takes; the launcher sees deaths."""
        if self.world_size > 1:
            try:
                dist.monitored_barrier(group=self.cpu_group, timeout=START_TIMEOUT)
            except RuntimeError as error:
                raise RankLost(f"meeting after loading: {error}") from error

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, on every rank. Unpickling happens here, on the ranks above 0."""
        if self.world_size == 1:
            return value
        box = [value if self.is_first else None]
        try:
            dist.broadcast_object_list(box, src=0, group=self.cpu_group)
        except RuntimeError as error:
            raise RankLost(f"broadcast: {error}") from error
        return box[0]

    def barrier(self) -> None:
        if self.world_size > 1:
            try:
                dist.barrier(group=self.cpu_group)
            except RuntimeError as error:
                raise RankLost(f"barrier: {error}") from error

    def gather_cfg(self, tensors: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
        """Every CFG rank's tensors, by rank. All bring as many, of one shape and type."""
        mine = torch.stack(list(tensors))
        everyone = [torch.empty_like(mine) for _ in range(self.cfg_size)]
        try:
            dist.all_gather(everyone, mine, group=self.cfg_group)
        except RuntimeError as error:
            raise RankLost(f"gathering branches: {error}") from error
        return [list(stacked.unbind(0)) for stacked in everyone]

    def agree_each(self, failures: Sequence[Failure | None]) -> list[Failure | None]:
        """For each place, the failure of the lowest rank that has one; the same on every rank.

        Every rank calls it with as many places. One small all-reduce; the words travel only when
        there is something to say.
        """
        mine = list(failures)
        if self.world_size == 1 or not mine:
            return mine
        try:
            flags = torch.tensor([failure is not None for failure in mine], dtype=torch.int32)
            dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self.cpu_group)
            if not bool(flags.any()):
                return mine
            everyone: list[Any] = [None] * self.world_size
            dist.all_gather_object(everyone, mine, group=self.cpu_group)
        except RuntimeError as error:
            raise RankLost(f"agreement: {error}") from error
        return [_get_first(rank_failures) for rank_failures in zip(*everyone, strict=True)]

    def agree(self, failure: Failure | None) -> Failure | None:
        """The failure that all ranks report, None if every rank is fine."""
        return self.agree_each([failure])[0]

    def close(self) -> None:
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def _get_first(failures: Sequence[Failure | None]) -> Failure | None:
    """Lowest rank first. A validation failure is everyone's; others name their rank."""
    for rank, failure in enumerate(failures):
        if failure is not None:
            if failure.kind == "validation":
                return failure
            return Failure(failure.kind, f"rank {rank}: {failure.message}", failure.field)
    return None


def _get_device(wish: str, rank: int) -> torch.device:
    if wish == "cpu" or (wish == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if rank >= torch.cuda.device_count():
        raise RuntimeError(
            f"rank {rank} has no CUDA device: {torch.cuda.device_count()} are visible"
        )
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    return device


def get_dtype(args: ServerArgs, device: torch.device) -> torch.dtype:
    """bf16 on a GPU, fp32 on a CPU (whose bf16 is emulated on most), unless `--dtype` says."""
    if args.dtype != "auto":
        return torch.bfloat16 if args.dtype == "bfloat16" else torch.float32
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def is_out_of_memory(error: BaseException) -> bool:
    """Out of memory and nothing else; torch's CPU allocator has no class of its own for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate" in str(error)

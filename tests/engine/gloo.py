"""Two real gloo ranks for tests: the test's function runs in each, in a spawned process."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed
import torch.multiprocessing

DEADLINE_S = 90.0


class GlooGroup:
    """The `CpuGroup` of `engine/shm/exchange.py`, on the default group."""

    def __init__(self) -> None:
        self.rank = torch.distributed.get_rank()
        self.world_size = torch.distributed.get_world_size()
        self.num_barriers = 0

    def broadcast(self, value: Any) -> Any:
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def barrier(self) -> None:
        self.num_barriers += 1
        torch.distributed.barrier()

    def sum_flags(self, flags: torch.Tensor) -> torch.Tensor:
        torch.distributed.all_reduce(flags)
        return flags


def _run_rank(
    rank: int, world_size: int, folder: str, function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f"{folder}/store", world_size)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    try:
        result: Any = function(GlooGroup(), *args)
        torch.distributed.barrier()
    except BaseException:
        result = RuntimeError(traceback.format_exc())
    torch.save(result, f"{folder}/result{rank}.part")
    Path(f"{folder}/result{rank}.part").rename(f"{folder}/result{rank}")
    torch.distributed.destroy_process_group()


def run_ranks(
    folder: Path, function: Callable[..., Any], *args: Any, world_size: int = 2
) -> list[Any]:
    """`function(group, *args)` on every rank; its results in rank order. Raises what a rank did."""
    context = torch.multiprocessing.get_context("spawn")
    ranks = [
        context.Process(target=_run_rank, args=(rank, world_size, str(folder), function, args))
        for rank in range(world_size)
    ]
    deadline = time.monotonic() + DEADLINE_S
    try:
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for process in ranks:
            if process.pid is not None and process.exitcode is None:
                process.kill()
                process.join()
    results = []
    for rank in range(world_size):
        path = folder / f"result{rank}"
        assert path.exists(), f"rank {rank} left no result (exit {ranks[rank].exitcode})"
        results.append(torch.load(path, weights_only=False))
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results

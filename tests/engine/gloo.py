"""Two real gloo ranks for tests: the test's function runs in each, in a spawned process."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed
import torch.multiprocessing

from warmup.engine.args import ServerArgs
from warmup.engine.ranks import Ranks

DEADLINE_S = 90.0


def make_ranks(rank: int, world_size: int) -> Ranks:
    """The engine's own `Ranks`, on the default group of this process."""
    ranks = Ranks(ServerArgs(model="none", device="cpu"), rank)
    ranks.world_size = world_size
    ranks.cpu_group = ranks.device_group = ranks.cfg_group = torch.distributed.group.WORLD
    return ranks


def _run_rank(
    rank: int, world_size: int, folder: str, function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f"{folder}/store", world_size)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    try:
        result: Any = function(make_ranks(rank, world_size), *args)
        torch.distributed.barrier()
    except BaseException:
        result = RuntimeError(traceback.format_exc())
    torch.save(result, f"{folder}/result{rank}.part")
    Path(f"{folder}/result{rank}.part").rename(f"{folder}/result{rank}")
    torch.distributed.destroy_process_group()


def run_ranks(
    folder: Path, function: Callable[..., Any], *args: Any, world_size: int = 2
) -> list[Any]:
    """`function(ranks, *args)` on every rank; its results in rank order. Raises what a rank did."""
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

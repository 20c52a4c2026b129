"""Starts the rank processes, watches every one of them, and ends them all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import msgspec

from warmup.engine.args import ServerArgs
from warmup.engine.backends import Backend
from warmup.engine.worker import Place
from warmup.words.program import make_argv, make_env

_log = logging.getLogger("warmup.engine")
STOP_GRACE_S = 2.0
# A signal to the whole process group reaches the ranks too: let ours be handled first.
_DEATH_DELAY_S = 0.1


def describe_exit(code: int) -> str:
    """`exit code 1`, `exit code -9 (SIGKILL)`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"exit code {code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"exit code {code}"


class RankProcesses:
    """The ranks of one server. `on_death(message)` is called for the first that ends unasked.

    Each rank's stdin is its lifeline: held open by us alone, it ends with us, and the rank with it.
    """

    def __init__(self, on_death: Callable[[str], None]) -> None:
        self._on_death = on_death
        self._processes: list[asyncio.subprocess.Process] = []
        self._watches: list[asyncio.Task[None]] = []
        self._stopping = False

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    async def start(self, args: ServerArgs, backend: Backend) -> Connection:
        """Start all ranks; the answer is our end of the socket to rank 0."""
        ours, theirs = Pipe()
        # Where the ranks find each other: memory that only who inherits it can open.
        store = os.memfd_create("ranks")
        try:
            for rank in range(args.world_size):
                connection_fd = theirs.fileno() if rank == 0 else None
                place = Place(
                    args=args,
                    rank=rank,
                    runner=backend.runner,
                    num_threads=max(1, (os.cpu_count() or 1) // args.world_size),
                    store=f"/proc/self/fd/{store}",
                    connection_fd=connection_fd,
                )
                await self._start_rank(place, (store, *((connection_fd,) if rank == 0 else ())))
        finally:
            os.close(store)
            theirs.close()
        return ours

    async def _start_rank(self, place: Place, fds: tuple[int, ...]) -> None:
        process = await asyncio.create_subprocess_exec(
            *make_argv("warmup.engine.worker"),
            stdin=asyncio.subprocess.PIPE, pass_fds=fds,
            env=_get_env(place.num_threads),
        )  # fmt: skip
        self._processes.append(process)
        self._watches.append(asyncio.create_task(self._watch(place.rank, process)))
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(place) + b"\n")

    async def _watch(self, rank: int, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        await asyncio.sleep(_DEATH_DELAY_S)
        if not self._stopping:
            self._stopping = True
            self._on_death(f"rank {rank} ended with {describe_exit(code)}")

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """End every rank: wait for those that were asked to stop, then cut the rest off."""
        self._stopping = True
        running = [process for process in self._processes if process.returncode is None]
        waits = [asyncio.create_task(process.wait()) for process in running]
        if waits:
            await asyncio.wait(waits, timeout=grace_s)
        for process in running:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        if waits:
            await asyncio.wait(waits)
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)


def _get_env(num_threads: int) -> dict[str, str]:
    """Ranks share the cores, draw no progress bars, and never look for a hub."""
    return {
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",
        **make_env(os.environ),
        "OMP_NUM_THREADS": str(num_threads),
    }

"""Which GPUs a server gets, and which models are warmed at once: GPUs are never shared. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from warmup.launch.api import Launch
from warmup.words.errors import WarmupError

# What a rank without weights of its own is taken to need of a host without GPUs.
BYTES_PER_RANK = 2 << 30
# Weights are read, then converted or copied: for a moment both are there.
BYTES_PER_WEIGHT_BYTE = 2


def get_visible(env: Mapping[str, str], indices: Sequence[int]) -> tuple[str, ...]:
    """The devices a server may use: CUDA_VISIBLE_DEVICES where it is set, else all of `indices`.

    Names are kept as they are written there: an index, or a `GPU-…`/`MIG-…` uuid.
    """
    said = env.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return tuple(str(index) for index in indices)
    if not indices:
        return ()
    return tuple(name.strip() for name in said.split(",") if name.strip())


def assign(tp: int, visible: Sequence[str], *, is_required: bool) -> str:
    """The first `tp` visible devices, comma-separated; "" on a host without any.

    is_required: whether a server of this engine needs one GPU a rank (`command` may not).
    Raises WarmupError where the host has GPUs, but too few.
    """
    if is_required and visible and len(visible) < tp:
        raise WarmupError(
            f"needs {tp} GPUs",
            cause=f"this host shows {len(visible)}: {', '.join(visible)}",
            hint="lower TP, or free CUDA_VISIBLE_DEVICES",
        )
    return ",".join(visible[:tp])


@dataclass(frozen=True)
class Need:
    """Of one model. gpus: names are taken from the pool. cores, size_bytes: where there is none."""

    gpus: int
    cores: int
    size_bytes: int


@dataclass(kw_only=True)
class Slots:
    """What is free. max_jobs: at once; None is `auto`, then cores and memory count as well.

    gpus: free names, as CUDA_VISIBLE_DEVICES takes them; num_gpus: all that this host shows.
    cores, size_bytes: free, of a host without GPUs.
    """

    max_jobs: int | None
    gpus: list[str]
    cores: int
    size_bytes: int
    running: int = 0
    blocked: dict[str, str] = field(default_factory=dict)
    _order: tuple[str, ...] = ()
    _num_cores: int = 0

    def __post_init__(self) -> None:
        self._order = tuple(self.gpus)
        self._num_cores = self.cores

    def get_need(self, launch: Launch, weights_bytes: int = 0) -> Need:
        """One GPU a rank; a launch that wants more than there are gets all, and fails by itself."""
        if self._order:
            return Need(min(launch.tp, len(self._order)), 0, 0)
        size = max(BYTES_PER_RANK * launch.tp, BYTES_PER_WEIGHT_BYTE * weights_bytes)
        return Need(0, min(launch.tp, self._num_cores), size)

    def take(self, need: Need) -> tuple[str, ...] | None:
        """The GPUs of a model that starts now; None where it has to wait."""
        if self.max_jobs is not None and self.running >= self.max_jobs:
            return None
        if need.gpus > len(self.gpus):
            return None
        is_counted = self.max_jobs is None and self.running > 0  # one may always run
        if is_counted and (need.cores > self.cores or need.size_bytes > self.size_bytes):
            return None
        taken, self.gpus = tuple(self.gpus[: need.gpus]), self.gpus[need.gpus :]
        self.running += 1
        self.cores -= need.cores
        self.size_bytes -= need.size_bytes
        return taken

    def give_back(self, need: Need, gpus: Sequence[str], survivors: str = "") -> None:
        """A model's step has ended. survivors: who still runs there, so that its GPUs stay taken;
        on a host without GPUs nothing more can start."""
        self.running -= 1
        self.cores += need.cores
        self.size_bytes += need.size_bytes
        if survivors:
            self.blocked |= dict.fromkeys(gpus or ("host",), survivors)
        else:
            free = {*self.gpus, *gpus}
            self.gpus = [name for name in self._order if name in free]

    def find_hindrance(self, need: Need) -> str:
        """Why a model can never start any more; "" where it can."""
        num_blocked = len(self.blocked)
        if not num_blocked or (self._order and need.gpus <= len(self._order) - num_blocked):
            return ""
        return "; ".join(dict.fromkeys(self.blocked.values()))

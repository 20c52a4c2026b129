"""How a workflow is split over machines: the same everywhere, without talking to anybody. Pure.

A share holds models that need equally many GPUs, so that a machine can be chosen for it; only where
there are fewer shares than sizes do models go to a larger machine. In it the longest comes first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from warmup.launch.api import Launch
from warmup.report.api import get_count
from warmup.words.errors import UsageError

# sglang's five models at TP 8 are cold for 13 minutes together (its `pr-test.yml` of 2026).
DEFAULT_COLD_S_PER_GPU = 20
MAX_SHARDS = 10_000  # as many as a Slurm array takes at most by far; more is a slip of the finger
MAX_JOBS = 256  # of one matrix (GitHub's own limit)

_SPEC = re.compile(r"(\d{1,9})/(\d{1,9})(?:@(\d{1,9}(?:,\d{1,9})*))?", re.ASCII)
_RUNNER = re.compile(r"(?:[^=]*x)?([1-9]\d{0,3})=(.+)", re.ASCII)


class _Record(Protocol):
    """What is taken of a marker."""

    @property
    def launch_key(self) -> str: ...

    @property
    def seconds(self) -> float: ...


class ShardSpec(msgspec.Struct, frozen=True):
    """`I/N`, or `I/N@SECONDS,…` with the cold seconds of every model of the workflow, in order.

    The seconds make the split independent of what the machine at hand remembers.
    """

    index: int
    total: int
    seconds: tuple[int, ...] = ()

    def __str__(self) -> str:
        pinned = ",".join(map(str, self.seconds))
        return f"{self.index}/{self.total}" + (f"@{pinned}" if pinned else "")


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one machine warms. index: from 1. num_gpus: the most that one of its models needs."""

    index: int
    num_gpus: int
    seconds: int
    launches: tuple[Launch, ...]


@dataclass(frozen=True)
class RunnerClass:
    """Machines with `num_gpus` GPUs, and the labels that GitHub finds them by."""

    num_gpus: int
    labels: tuple[str, ...]


class MatrixJob(msgspec.Struct, frozen=True, kw_only=True, rename={"runs_on": "runs-on"}):
    """One job. shard: for `run --shard`. models: for `run --models`, blank-separated."""

    shard: str
    runs_on: tuple[str, ...]
    models: str
    seconds: int


class Matrix(msgspec.Struct, frozen=True):
    """For `fromJSON` in `strategy.matrix`."""

    include: tuple[MatrixJob, ...]


def parse_shard(text: str) -> ShardSpec:
    """Raises UsageError for what is not I/N with 1 <= I <= N."""
    match = _SPEC.fullmatch(text)
    if match is None:
        raise UsageError(f"not a shard: {text[:200]!r}", hint="write --shard 2/5 for one of five")
    seconds = tuple(map(int, match[3].split(","))) if match[3] else ()
    spec = ShardSpec(int(match[1]), int(match[2]), seconds)
    if not 1 <= spec.index <= spec.total <= MAX_SHARDS:
        raise UsageError(
            f"impossible shard {spec.index}/{spec.total}",
            cause=f"shards count from 1, and there are {MAX_SHARDS} at most",
            hint="write --shard 1/5 for the first of five, and 5/5 for the last",
        )
    return spec


def parse_runner(text: str) -> RunnerClass:
    """`8=self-hosted,h200`, or `h200x8=…`: the class ends with its number of GPUs.

    Raises UsageError.
    """
    match = _RUNNER.fullmatch(text)
    labels = () if match is None else tuple(filter(None, map(str.strip, match[2].split(","))))
    if match is None or not labels:
        raise UsageError(
            f"not a class of runners: {text[:200]!r}",
            cause="expected CLASS=LABEL,…, where CLASS ends with the number of its GPUs",
            hint="write --runner h200x8=self-hosted,8-gpu-h200",
        )
    return RunnerClass(int(match[1]), labels)


def find_recorded(launches: Iterable[Launch], records: Iterable[_Record]) -> list[int | None]:
    """Of each launch the longest recorded warm-up, in whole seconds; None where there is none.

    The longest, since a forced or a proving one finds its kernels.
    """
    longest: dict[str, float] = {}
    for record in records:
        longest[record.launch_key] = max(record.seconds, longest.get(record.launch_key, 0.0))
    found = (longest.get(launch.key) for launch in launches)
    return [None if seconds is None else max(1, math.ceil(seconds)) for seconds in found]


def get_default_seconds(launch: Launch) -> int:
    """How long a launch is taken to be cold that nobody has warmed yet."""
    return DEFAULT_COLD_S_PER_GPU * launch.tp


def split(launches: Sequence[Launch], total: int, seconds: Sequence[int] = ()) -> tuple[Share, ...]:
    """Exactly `total` shares that hold every launch once; those beyond the models are empty.

    seconds: of each launch; none of them: the defaults.
    """
    costs = seconds or [get_default_seconds(launch) for launch in launches]
    groups: dict[int, list[int]] = {}
    for index, launch in enumerate(launches):
        groups.setdefault(launch.tp, []).append(index)
    while len(groups) > total:  # the smallest machine's models go to the next larger one
        smallest, larger = sorted(groups)[:2]
        groups[larger] += groups.pop(smallest)
    shares: list[Share] = []
    for num_gpus, count in _count_shares(groups, costs, total).items():
        for bin_ in _fill(groups[num_gpus], costs, count):
            share = Share(
                index=len(shares) + 1,
                num_gpus=num_gpus,
                seconds=sum(costs[index] for index in bin_),
                launches=tuple(launches[index] for index in bin_),
            )
            shares.append(share)
    empty = range(len(shares) + 1, total + 1)
    return (*shares, *(Share(index=i, num_gpus=0, seconds=0, launches=()) for i in empty))


def take_share(launches: Sequence[Launch], text: str) -> tuple[Launch, ...]:
    """The launches of one shard, as `run --shard` names it. Raises UsageError."""
    spec = parse_shard(text)
    if spec.seconds and len(spec.seconds) != len(launches):
        raise UsageError(
            f"--shard {spec.index}/{spec.total} was made for another workflow",
            cause=f"it tells the seconds of {get_count(len(spec.seconds), 'model')}, and here are"
            f" {len(launches)}",
            hint="make the matrix and run its shards with one workflow and the same --models",
        )
    return split(launches, spec.total, spec.seconds)[spec.index - 1].launches


def make_matrix(
    launches: Sequence[Launch],
    recorded: Sequence[int | None],
    *,
    num_shards: int | None = None,
    runners: Sequence[RunnerClass] = (),
) -> Matrix:
    """One job per share that holds a model.

    recorded: `find_recorded`'s. num_shards: None for one model a job. Raises UsageError for more
    jobs than GitHub takes, and where no class of runners has enough GPUs.
    """
    total = len(launches) if num_shards is None else num_shards
    if total > MAX_JOBS:
        raise UsageError(
            f"a matrix of {total} jobs",
            cause=f"GitHub takes {MAX_JOBS} at most",
            hint=f"say --shards {MAX_JOBS} or less, so that a job warms several models",
        )
    pinned = pin_seconds(launches, recorded)
    jobs = []
    for share in split(launches, total, pinned):
        if share.launches:
            job = MatrixJob(
                shard=str(ShardSpec(share.index, total, pinned)),
                runs_on=_get_labels(share, runners),
                models=" ".join(launch.name for launch in share.launches),
                seconds=share.seconds,
            )
            jobs.append(job)
    return Matrix(tuple(jobs))


def pin_seconds(launches: Sequence[Launch], recorded: Sequence[int | None]) -> tuple[int, ...]:
    """What goes behind the `@` of a shard; nothing where no launch was ever warmed."""
    if all(seconds is None for seconds in recorded):
        return ()
    defaults = map(get_default_seconds, launches)
    return tuple(known or default for known, default in zip(recorded, defaults, strict=True))


def _get_labels(share: Share, runners: Sequence[RunnerClass]) -> tuple[str, ...]:
    """Of the smallest machines that fit; without classes a label that tells the size."""
    if not runners:
        return ("self-hosted", f"{share.num_gpus}-gpu")
    fitting = [runner for runner in runners if runner.num_gpus >= share.num_gpus]
    if not fitting:
        raise UsageError(
            f"no class of runners fits {share.launches[0].name}",
            cause=f"it needs {share.num_gpus} GPUs",
            hint=f"add --runner {share.num_gpus}=LABEL,…",
        )
    return min(fitting, key=lambda runner: runner.num_gpus).labels


def _count_shares(
    groups: Mapping[int, Sequence[int]], costs: Sequence[int], total: int
) -> dict[int, int]:
    """GPUs needed → how many shares: one each, and each further one where it helps most."""
    counts = dict.fromkeys(sorted(groups, reverse=True), 1)
    for _ in range(total - len(counts)):
        able = [need for need in counts if counts[need] < len(groups[need])]
        if not able:
            break
        loads = {need: sum(costs[i] for i in groups[need]) / counts[need] for need in able}
        counts[max(able, key=lambda need: (loads[need], need))] += 1
    return counts


def _fill(indices: Sequence[int], costs: Sequence[int], count: int) -> list[list[int]]:
    """Longest first, each to the share that has least so far (LPT, Graham 1969: at most a third
    above the best)."""
    shares: list[list[int]] = [[] for _ in range(count)]
    loads = [0] * count
    for index in sorted(indices, key=lambda i: (-costs[i], i)):
        least = loads.index(min(loads))
        shares[least].append(index)
        loads[least] += costs[index]
    return shares

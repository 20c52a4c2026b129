"""FlashInfer's tuning results that differ between the ranks of one server.

A rank that finds a result skips its measurements, and with them the collectives in which the other
ranks then wait: a launch hung for 1800 s (vllm#57579). sglang 0.5.23 takes all files of such a
group away and measures at every boot (`_drop_diverged_autotune_cache`); vLLM 0.33.0 leaves them all
aside. Which ranks have to agree: sglang's of one pipeline stage; vLLM's all, since it does not say
which belong to one stage; both of one replica, where a rank occurs twice.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from warmup.caches.families.flashinfer_autotune import RANK_FILE, VLLM_FILE
from warmup.caches.hazards.rule import Finding, Rule, RuleGroup, Scope
from warmup.caches.remove import open_below, set_aside
from warmup.words.escape import from_text
from warmup.words.files import read_head

_MAX_BYTES = 64 << 20
_QUIET_S = 60  # the ranks of one server write theirs within seconds
# flashinfer 0.7.2, autotuner.py: where a file is from, and a hash of all of it.
_METADATA, _GENERATION = "_metadata", "_generation"


class _RankFile(NamedTuple):
    """results: operation and shape → what won; None for a file that is not JSON."""

    name: str
    rank: int
    results: dict[str, object] | None
    metadata: object


def check(scope: Scope) -> Iterator[Finding]:
    for entry, files in scope.found.entries.items():
        names = [file.name for file in files]
        for group in _list_groups(names):
            if len(group) < 2 and max(group.values(), default=0) == 0:
                continue
            read = [_read(scope, entry, name, rank) for name, rank in group.items()]
            message, is_sure = _compare(read)
            if message:
                is_quiet = max(file.mtime_ns for file in files) < time.time_ns() - _QUIET_S * 10**9
                path = f"{scope.found.root}/{entry}"
                yield RANKS_DIFFER.make_finding(
                    scope, path, message, entry=entry, is_repairable=is_sure and is_quiet
                )


def _list_groups(names: Sequence[str]) -> list[dict[str, int]]:
    """Files that have to agree, each with its rank. MegaMoE's name a GPU, and no server."""
    sglang = [found for name in names if (found := RANK_FILE.fullmatch(name)) and found["tp"]]
    sglang = [found for found in sglang if not found["gpu"]]
    vllm = [found for name in names if (found := VLLM_FILE.fullmatch(name)) and found["rank"]]
    files = [(found[0], found["pp"], int(found["tp"]), found["dp"]) for found in sglang]
    files += [(found[0], "of vLLM", int(found["rank"]), found["dp"]) for found in vllm]
    has_replicas = len({(stage, rank) for _, stage, rank, _ in files}) < len(files)
    groups: dict[tuple[str, str], dict[str, int]] = {}
    for name, stage, rank, replica in sorted(files):
        groups.setdefault((stage, replica if has_replicas else ""), {})[name] = rank
    return list(groups.values())


def _read(scope: Scope, entry: str, name: str, rank: int) -> _RankFile:
    data = read_head(f"{scope.found.root}/{entry}/{name}", _MAX_BYTES, scope.open_file)
    try:
        results = msgspec.json.decode(data, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _RankFile(name, rank, None, None)
    metadata = results.pop(_METADATA, None)
    results.pop(_GENERATION, None)
    return _RankFile(name, rank, results, metadata)


def _compare(files: Sequence[_RankFile]) -> tuple[str, bool]:
    """What is wrong with a group, "" for nothing; and whether that is certain."""
    ranks = {each.rank for each in files}
    missing = next(rank for rank in itertools.count() if rank not in ranks)
    if missing < max(ranks):
        return f"of {max(ranks) + 1} ranks, rank {missing} has no file", True
    first, *others = sorted(files, key=lambda each: each.rank)
    for each in (first, *others):
        if each.results is None:
            return f"{each.name} is not JSON, and other ranks have theirs", True
    for each in others:
        assert first.results is not None and each.results is not None
        if each.metadata != first.metadata:
            return f"{first.name} and {each.name} are of two environments", True
        if VLLM_FILE.fullmatch(each.name):
            if len(each.results) != len(first.results):
                told = f"{first.name} has {len(first.results)} results, {each.name}"
                return f"{told} {len(each.results)}; right only for two pipeline stages", False
        elif each.results != first.results:
            keys = first.results.keys() | each.results.keys()
            count = sum(first.results.get(key) != each.results.get(key) for key in keys)
            return f"{first.name} and {each.name} differ in {count} of {len(keys)} results", True
    return "", True


def repair(finding: Finding) -> str:
    """Put the files of all ranks aside, so that they measure together."""
    root, entry = from_text(finding.root), from_text(finding.entry)
    with open_below(root, entry) as folder:
        times = [folder.stat(name).st_mtime_ns for name in folder.list_names()]
    if max(times, default=0) >= time.time_ns() - _QUIET_S * 10**9:
        raise OSError(f"{finding.path}: a server has just written there")
    return f"put in quarantine: {set_aside(root, entry)}"


RANKS_DIFFER = Rule(
    id="autotune-ranks-differ",
    severity="error",
    summary="FlashInfer's tuning results differ between ranks: the launch hangs, or measures anew",
    link="https://github.com/vllm-project/vllm/pull/57579",
    repair=repair,
    fix="put the files of all ranks in quarantine; the next start measures them together",
    before_run=True,
)
GROUP = RuleGroup((RANKS_DIFFER,), ("flashinfer_autotune",), check)

"""Which process of a tree compiled an entry, as far as the tree shows it. Signals nothing.

A look is taken only when a cache folder has changed, so a command that compiles nothing pays for
a few `stat` calls a second. Evidence is a loaded file: launchers, extensions and libraries
(`.so`) stay mapped while their process lives. Where nothing is mapped, a server is named only if
it is the only one that could have been: the one listener of the tree, or its one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from warmup.supervise.tree import proc
from warmup.supervise.watch.sockets import list_listening

_MAX_FOLDERS = 512


@dataclass
class _Seen:
    """One process. argv: as it was when first seen, before it could retitle itself."""

    ppid: int
    argv: tuple[str, ...]
    listens: bool = False
    mapped: set[str] = field(default_factory=set)


@dataclass
class Witness:
    """Watches the processes below `root_pid` (0: not started yet) and the folders in `roots`."""

    roots: Sequence[Path]
    root_pid: int = 0
    _seen: dict[tuple[int, int], _Seen] = field(default_factory=dict)
    _signature: tuple[int, ...] = ()

    def look(self) -> bool:
        """Look at the processes if a cache folder has changed since. Returns whether it has."""
        signature = tuple(_list_mtimes(self.roots))
        if signature == self._signature:
            return False
        is_first, self._signature = not self._signature, signature
        if not is_first:
            self._take(_list_tree(self.root_pid))
        return not is_first

    def find_argv(self, entry: str) -> tuple[str, ...] | None:
        """The command line of the server that holds `entry`; None where the tree does not show it.

        entry: path relative to its cache folder.
        """
        holders = [
            seen
            for seen in self._seen.values()
            if any(f"/{entry}/" in path or path.endswith(f"/{entry}") for path in seen.mapped)
        ]
        servers = {self._get_server(seen).argv for seen in holders}
        if not servers:
            servers = {self._get_server(seen).argv for seen in self._seen.values() if seen.listens}
        if not servers and len(self._seen) == 1:
            servers = {seen.argv for seen in self._seen.values()}
        return servers.pop() if len(servers) == 1 else None

    def _take(self, tree: Sequence[tuple[int, proc.Stat]]) -> None:
        listening = _find_listening([pid for pid, _ in tree])
        for pid, stat in tree:
            seen = self._seen.setdefault((pid, stat.start), _Seen(stat.ppid, _read_argv(pid)))
            seen.listens |= pid in listening
            seen.mapped |= _list_mapped(pid, self.roots)

    def _get_server(self, seen: _Seen) -> _Seen:
        """The highest listener at or above a process; the process itself where there is none."""
        by_pid = {pid: each for (pid, _), each in self._seen.items()}
        server, above = seen, by_pid.get(seen.ppid)
        while above is not None:
            if above.listens:
                server = above
            above = by_pid.get(above.ppid)
        return server


def _list_mtimes(roots: Iterable[Path]) -> Iterable[int]:
    """Modification times of the roots and of the folders right below them."""
    for root in roots:
        try:
            yield root.stat().st_mtime_ns
            with os.scandir(root) as items:
                for _, item in zip(range(_MAX_FOLDERS), items, strict=False):
                    if item.is_dir(follow_symlinks=False):
                        yield item.stat(follow_symlinks=False).st_mtime_ns
        except OSError:
            yield 0  # not made yet, or gone: that is a state like any other


def _list_tree(root_pid: int) -> list[tuple[int, proc.Stat]]:
    """The process and every descendant of it that lives, ancestors first."""
    stats = {pid: stat for pid in proc.list_pids() if (stat := proc.find_stat(pid)) is not None}
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.ppid, []).append(pid)
    found, queue = [], [root_pid]
    while queue:
        pid = queue.pop(0)
        if pid in stats and not stats[pid].has_ended:
            found.append((pid, stats[pid]))
        queue += children.get(pid, [])
    return found


def _find_listening(pids: Sequence[int]) -> set[int]:
    return {pid for pid in pids if list_listening([pid])}


def _read_argv(pid: int) -> tuple[str, ...]:
    text = proc.find_text(f"/proc/{pid}/cmdline") or b""
    return tuple(os.fsdecode(word) for word in text.rstrip(b"\0").split(b"\0"))


def _list_mapped(pid: int, roots: Sequence[Path]) -> set[str]:
    """Files under the roots that the process has mapped."""
    prefixes = tuple(os.fsencode(f"{root}/") for root in roots)
    found = set()
    try:
        with open(f"/proc/{pid}/maps", "rb") as lines:  # noqa: PTH123 - bytes, and hot
            for line in lines:
                path = line.rstrip(b"\n").split(b" ", 5)[-1].lstrip()
                if path.startswith(prefixes):
                    found.add(os.fsdecode(path.removesuffix(b" (deleted)")))
    except OSError:
        return found  # it has ended, or belongs to another user
    return found

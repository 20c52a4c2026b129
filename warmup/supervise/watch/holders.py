"""Which process of a tree compiled an entry, as far as the tree shows it. Signals nothing.

A look is taken only when a cache folder has changed, so a command that compiles nothing pays for
a few `stat` calls a second. Evidence is a loaded file: launchers, extensions and libraries
(`.so`) stay mapped while their process lives. Where nothing is mapped, a server is named only if
it is the only one that could have been: the one listener of the tree, or its one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from warmup.supervise.watch.sockets import list_listening
from warmup.words.secrets import Redactor

if TYPE_CHECKING:
    import psutil

_MAX_FOLDERS = 512


@dataclass
class _Member:
    """One process. argv: as it was when first seen, before it could retitle itself."""

    ppid: int
    argv: tuple[str, ...]
    listens: bool = False
    mapped: set[str] = field(default_factory=set)


@dataclass
class EntryHolders:
    """Watches the processes below `root_pid` (0: not started yet) and the folders in `roots`."""

    roots: Sequence[Path]
    root_pid: int = 0
    _members: dict[tuple[int, float], _Member] = field(default_factory=dict)
    _signature: tuple[int, ...] = ()

    def look(self) -> bool:
        """Look at the processes if a cache folder has changed since. Returns whether it has."""
        signature = tuple(_list_mtimes(self.roots))
        if signature == self._signature:
            return False
        is_first, self._signature = not self._signature, signature
        if not is_first:
            self._record(_list_tree(self.root_pid))
        return not is_first

    def find_argv(self, entry: str, redactor: Redactor) -> tuple[str, ...] | None:
        """The command line of the server that holds `entry`; None where the tree does not show it.

        entry: path relative to its cache folder.
        """
        members = self._members.values()
        holders = [
            member
            for member in members
            if any(f"/{entry}/" in path or path.endswith(f"/{entry}") for path in member.mapped)
        ]
        servers = {self._get_server(member).argv for member in holders}
        if not servers:
            servers = {self._get_server(member).argv for member in members if member.listens}
        if not servers and len(members) == 1:
            servers = {member.argv for member in members}
        return redactor.redact_argv(servers.pop()) if len(servers) == 1 else None

    def _record(self, tree: Sequence[psutil.Process]) -> None:
        import psutil

        listening = {listener.pid for listener in list_listening([p.pid for p in tree])}
        for process in tree:
            with suppress(psutil.Error):  # ended meanwhile, or another user's
                key = (process.pid, process.create_time())
                if key not in self._members:
                    self._members[key] = _Member(process.ppid(), tuple(process.cmdline()))
                self._members[key].listens |= process.pid in listening
                self._members[key].mapped |= _list_mapped(process.pid, self.roots)

    def _get_server(self, member: _Member) -> _Member:
        """The highest listener at or above a process; the process itself where there is none."""
        by_pid = {pid: each for (pid, _), each in self._members.items()}
        server, above = member, by_pid.get(member.ppid)
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


def _list_tree(root_pid: int) -> list[psutil.Process]:
    """The process and every descendant of it that lives, ancestors first."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(root_pid)
        return [root, *root.children(recursive=True)]
    return []


def _list_mapped(pid: int, roots: Sequence[Path]) -> set[str]:
    """Files under the roots that the process has mapped.

    Not psutil's `memory_maps`: that reads smaps, for which the kernel walks every page table.
    """
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
